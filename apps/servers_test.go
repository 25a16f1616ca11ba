package apps

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// get asks a server for a page, once it answers.
func get(p *place, port int, path string) string {
	p.Helper()
	return eventually(p, func() (string, error) {
		// A connection of its own for each: nothing is kept open.
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
		r, err := client.Get(fmt.Sprintf("http://127.0.0.1:%d%s", port, path))
		if err != nil {
			return "", err
		}
		defer r.Body.Close()
		b, err := io.ReadAll(r.Body)
		if err == nil && r.StatusCode != http.StatusOK {
			err = fmt.Errorf("%s: %s", r.Status, b)
		}
		return string(b), err
	})
}

// redisClient talks to redis, and connects again when the connection is lost.
type redisClient struct {
	*place
	address string
	conn    net.Conn
}

func (c *redisClient) do(words ...string) string {
	c.Helper()
	return eventually(c.place, func() (string, error) {
		if c.conn == nil {
			var err error
			if c.conn, err = net.Dial("unix", c.address); err != nil {
				return "", err
			}
		}
		answer, err := ask(c.conn, words)
		if err != nil {
			c.conn.Close()
			c.conn = nil
		}
		return answer, err
	})
}

func ask(conn net.Conn, words []string) (string, error) {
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return "", err
	}
	text := fmt.Sprintf("*%d\r\n", len(words))
	for _, w := range words {
		text += fmt.Sprintf("$%d\r\n%s\r\n", len(w), w)
	}
	if _, err := io.WriteString(conn, text); err != nil {
		return "", err
	}
	r := bufio.NewReader(conn)
	line, err := r.ReadString('\n')
	if err != nil {
		return "", err
	}
	line = strings.TrimRight(line, "\r\n")
	if line[0] == '-' {
		return "", errors.New(line)
	}
	if line[0] != '$' {
		return line[1:], nil
	}
	n, err := strconv.Atoi(line[1:])
	if err != nil {
		return "", err
	}
	b := make([]byte, n+2)
	_, err = io.ReadFull(r, b)
	return string(b[:n]), err
}

func TestRedis(t *testing.T) {
	// One program that goes by its name.
	needs(t, "redis-check-rdb")
	program, err := exec.LookPath("redis-check-rdb")
	require.NoError(t, err)
	each(t, func(p *place) {
		server := p.path("redis-server")
		require.NoError(p, os.Symlink(program, server))
		r := p.start(server, "--port", strconv.Itoa(freePort(p.T)), "--bind", "127.0.0.1", "--unixsocket", "redis.sock",
			"--appendonly", "yes", "--dir", p.dir)
		c := &redisClient{place: p, address: p.path("redis.sock")}
		eventually(p, func() (struct{}, error) { _, err := os.Stat(c.address); return struct{}{}, err })
		for i := 1; i <= 500; i++ {
			require.Equal(p, strconv.Itoa(i), c.do("INCR", "n"))
		}
		require.Equal(p, "OK", c.do("SET", "text", "kept"))
		require.Equal(p, "500", c.do("GET", "n"))
		c.conn.Close()
		c.conn = nil
		time.Sleep(200 * time.Millisecond) // it sees the end of the connection
		q := r.through()
		require.Equal(p, "501", c.do("INCR", "n"))
		require.Equal(p, "kept", c.do("GET", "text"))
		require.Contains(p, c.do("INFO", "persistence"), "aof_last_write_status:ok")
		// It can fork, write all of its data, and end.
		c.do("BGSAVE")
		eventually(p, func() (struct{}, error) { _, err := os.Stat(p.path("dump.rdb")); return struct{}{}, err })
		require.NoError(p, q.cmd.Process.Signal(syscall.SIGTERM))
		require.NoError(p, q.wait(), "%s", q.said)
		require.Contains(p, p.output("redis-check-rdb", "dump.rdb"), "RDB looks OK")
	})
}

// copyOf copies a program to where the user of the test may read it.
func copyOf(p *place, program string) string {
	p.Helper()
	b, err := os.ReadFile(program)
	require.NoError(p, err)
	path := p.path(filepath.Base(program) + ".bin")
	require.NoError(p, os.WriteFile(path, b, 0o755))
	return path
}

func TestNginx(t *testing.T) {
	needs(t, "nginx")
	nginx, err := exec.LookPath("nginx")
	require.NoError(t, err)
	each(t, func(p *place) {
		port := freePort(p.T)
		p.write("page", "the page\n")
		user := ""
		if p.attr.Credential == nil && os.Getuid() == 0 {
			user = "user root;"
		}
		config := p.write("nginx.conf", fmt.Sprintf(`
%s daemon off; worker_processes 2; pid %s/pid; error_log %s/error.log;
events { worker_connections 64; }
http {
	access_log %s/access.log;
	client_body_temp_path %s; proxy_temp_path %s; fastcgi_temp_path %s; uwsgi_temp_path %s; scgi_temp_path %s;
	server { listen 127.0.0.1:%d; root %s; }
}
`, user, p.dir, p.dir, p.dir, p.dir, p.dir, p.dir, p.dir, p.dir, port, p.dir))
		r := p.start(copyOf(p, nginx), "-e", p.path("error.log"), "-c", config)
		require.Equal(p, "the page\n", get(p, port, "/page"))
		time.Sleep(200 * time.Millisecond)
		q := r.through()
		for i := 0; i < 20; i++ {
			require.Equal(p, "the page\n", get(p, port, "/page"))
		}
		require.Contains(p, p.read("access.log"), "GET /page")
		// The master can still start workers and stop them.
		p.write("page", "another\n")
		require.NoError(p, q.cmd.Process.Signal(syscall.SIGHUP))
		require.Equal(p, "another\n", get(p, port, "/page"))
		require.NoError(p, q.cmd.Process.Signal(syscall.SIGTERM))
		require.NoError(p, q.wait(), "%s%s", q.said, p.read("error.log"))
	})
}

func TestTmux(t *testing.T) {
	needs(t, "tmux")
	each(t, func(p *place) {
		p.env = append(p.env, "SHELL=/bin/sh", "TERM=xterm", "PS1=% ")
		socket := p.path("tmux.sock")
		tmux := func(args ...string) string {
			p.Helper()
			return p.output(append([]string{"tmux", "-S", socket, "-f", "/dev/null"}, args...)...)
		}
		tmux("new-session", "-d", "-x", "90", "-y", "20", "bash --norc --noprofile")
		pid, err := strconv.Atoi(strings.TrimSpace(tmux("display-message", "-p", "#{pid}")))
		require.NoError(p, err)
		p.Cleanup(func() { killTree(pid) })
		shows := func(want string) {
			p.Helper()
			eventually(p, func() (struct{}, error) {
				screen, err := p.command("tmux", "-S", socket, "capture-pane", "-p").CombinedOutput()
				if err == nil && !strings.Contains(string(screen), want) {
					err = fmt.Errorf("%q is not on the screen:\n%s", want, screen)
				}
				return struct{}{}, err
			})
		}
		tmux("send-keys", "X=kept; echo $((6*7))=$X", "Enter")
		shows("42=kept")
		tmux("send-keys", "sleep 1000", "Enter")
		eventually(p, func() (struct{}, error) {
			if !strings.Contains(tmux("display-message", "-p", "#{pane_current_command}"), "sleep") {
				return struct{}{}, errors.New("no sleep")
			}
			return struct{}{}, nil
		})
		image := p.checkpoint(pid)
		q := p.restart(image)
		shows("42=kept")
		// The job is in the foreground of the pane's terminal: ^Z stops it.
		tmux("send-keys", "C-z")
		shows("Stopped")
		tmux("send-keys", "kill %1; echo $X-$((7*7))", "Enter")
		shows("kept-49")
		tmux("kill-server")
		require.NoError(p, q.wait(), "%s", q.said)
	})
}

func TestGoServer(t *testing.T) {
	each(t, func(p *place) {
		server := p.path("server")
		out, err := exec.Command("go", "build", "-o", server, "./testdata/server").CombinedOutput()
		require.NoError(p, err, "%s", out)
		port := freePort(p.T)
		r := p.start(server, fmt.Sprintf("127.0.0.1:%d", port))
		require.Equal(p, "serving", r.line())
		for i := 1; i <= 10; i++ {
			require.Equal(p, fmt.Sprint(i), get(p, port, "/count"))
		}
		time.Sleep(100 * time.Millisecond)
		q := r.through()
		require.Equal(p, "11", get(p, port, "/count"))
		// sha256 of what ten goroutines have computed, with collections of garbage.
		require.Equal(p, get(p, port, "/work"), get(p, port, "/work"))
		require.NoError(p, q.cmd.Process.Signal(syscall.SIGTERM))
		require.Equal(p, "bye\n", q.rest())
	})
}
