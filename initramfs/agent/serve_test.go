package agent_test

import (
	"encoding/json"
	"net"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"cr/initramfs/agent"
)

// serve starts an agent and returns what sends it requests and what reads its
// replies. The first reply is read.
func serve(t *testing.T) (*json.Encoder, *json.Decoder) {
	host, guest := net.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- agent.Serve(guest) }()
	t.Cleanup(func() {
		require.NoError(t, host.Close())
		require.Error(t, <-ended)
	})
	replies := json.NewDecoder(host)
	var hello agent.Reply
	require.NoError(t, replies.Decode(&hello))
	require.Equal(t, agent.Reply{}, hello)
	return json.NewEncoder(host), replies
}

// result is all that came of one request.
type result struct {
	stdout, stderr string
	end            agent.Reply
}

func collect(t *testing.T, replies *json.Decoder, n int) map[int]result {
	all := map[int]result{}
	for n > 0 {
		var r agent.Reply
		require.NoError(t, replies.Decode(&r))
		got := all[r.ID]
		got.stdout += string(r.Stdout)
		got.stderr += string(r.Stderr)
		if r.Ended {
			got.end = r
			n--
		}
		all[r.ID] = got
	}
	return all
}

func TestServe(t *testing.T) {
	long := strings.Repeat("0123456789", 20000)
	for _, test := range []struct {
		name string
		req  agent.Request
		want result
	}{
		{
			name: "output",
			req:  agent.Request{Argv: []string{"sh", "-c", "echo out; echo err >&2"}},
			want: result{stdout: "out\n", stderr: "err\n"},
		},
		{
			name: "exit status",
			req:  agent.Request{Argv: []string{"sh", "-c", "exit 3"}},
			want: result{end: agent.Reply{Exit: 3}},
		},
		{
			name: "signal",
			req:  agent.Request{Argv: []string{"sh", "-c", "kill -9 $$"}},
			want: result{end: agent.Reply{Exit: 137}},
		},
		{
			name: "environment and directory",
			req:  agent.Request{Argv: []string{"sh", "-c", "echo $CR_TEST; pwd"}, Env: []string{"CR_TEST=1"}, Dir: "/"},
			want: result{stdout: "1\n/\n"},
		},
		{
			name: "longer than a reply",
			req:  agent.Request{Argv: []string{"cat"}, Stdin: []byte(long)},
			want: result{stdout: long},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			requests, replies := serve(t)
			test.req.ID = 7
			test.want.end.ID, test.want.end.Ended = 7, true
			require.NoError(t, requests.Encode(test.req))
			require.Equal(t, test.want, collect(t, replies, 1)[7])
		})
	}
}

func TestServeNoCommand(t *testing.T) {
	requests, replies := serve(t)
	require.NoError(t, requests.Encode(agent.Request{ID: 1, Argv: []string{"/nonexistent"}}))
	require.NoError(t, requests.Encode(agent.Request{ID: 2}))
	for _, r := range collect(t, replies, 2) {
		require.Equal(t, 127, r.end.Exit)
		require.NotEmpty(t, r.end.Error)
	}
}

func TestServeSideBySide(t *testing.T) {
	requests, replies := serve(t)
	fifo := t.TempDir() + "/fifo"
	require.NoError(t, requests.Encode(agent.Request{ID: 1, Argv: []string{"sh", "-c", "mkfifo " + fifo + " && echo made && cat " + fifo}}))
	var made agent.Reply
	require.NoError(t, replies.Decode(&made))
	require.NoError(t, requests.Encode(agent.Request{ID: 2, Argv: []string{"sh", "-c", "echo through >" + fifo}}))
	require.Equal(t, "through\n", collect(t, replies, 2)[1].stdout)
}

// TestServeLines checks that no reply is longer than one write to a virtio
// port.
func TestServeLines(t *testing.T) {
	req, err := json.Marshal(agent.Request{ID: 1, Argv: []string{"head", "-c", "100000", "/dev/zero"}})
	require.NoError(t, err)
	host, guest := net.Pipe()
	go func() { _ = agent.Serve(guest) }()
	defer host.Close()
	buf := make([]byte, 1<<20)
	_, err = host.Read(buf)
	require.NoError(t, err)
	_, err = host.Write(req)
	require.NoError(t, err)
	for total := 0; total < 100000; {
		// A read from a net.Pipe returns what one write wrote.
		n, err := host.Read(buf)
		require.NoError(t, err)
		require.LessOrEqual(t, n, 32<<10)
		var r agent.Reply
		require.NoError(t, json.Unmarshal(buf[:n], &r))
		total += len(r.Stdout)
	}
}
