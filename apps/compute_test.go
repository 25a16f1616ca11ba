package apps

import (
	"crypto/sha256"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The whole of a program's work must come out as if it had not been
// interrupted.

func TestPythonThreads(t *testing.T) {
	needs(t, "/usr/bin/python3")
	each(t, func(p *place) {
		script := p.write("threads.py", `
import hashlib, queue, threading
work, done = queue.Queue(8), queue.Queue()
turn = threading.Condition(); at = 0
class Local(threading.local): n = 0
local = Local()
def worker(k):
    global at
    digest = b""
    while (n := work.get()) is not None:
        for i in range(200): digest = hashlib.sha256(digest + b"%d" % i).digest()
        local.n += 1
        with turn: at += 1; turn.notify_all()
    done.put((k, local.n))
threads = [threading.Thread(target=worker, args=(k,)) for k in range(6)]
for t in threads: t.start()
print("begun", flush=True)
for n in range(4000): work.put(n)
for t in threads: work.put(None)
for t in threads: t.join()
with turn: assert at == 4000, at
print(sum(done.get()[1] for t in threads), threading.active_count())
`)
		r := p.start("/usr/bin/python3", script)
		require.Equal(p, "begun", r.line())
		time.Sleep(200 * time.Millisecond)
		require.Equal(p, "4000 1\n", r.through().rest())
	})
}

func TestPythonAsyncio(t *testing.T) {
	needs(t, "/usr/bin/python3")
	each(t, func(p *place) {
		script := p.write("tasks.py", `
import asyncio
async def serve(reader, writer):
    while line := await reader.readline():
        await asyncio.sleep(0.01)
        writer.write(b"%d\n" % (int(line) * 2)); await writer.drain()
    writer.close()
async def client(n, path):
    reader, writer = await asyncio.open_unix_connection(path)
    total = 0
    for i in range(100):
        writer.write(b"%d\n" % (n * i)); await writer.drain()
        total += int(await reader.readline())
    writer.close()
    return total
async def child():
    c = await asyncio.create_subprocess_exec("sort", "-n", stdin=-1, stdout=-1)
    c.stdin.write(b"3\n1\n"); await c.stdin.drain()
    await asyncio.sleep(1.5)
    out, _ = await c.communicate(b"2\n")
    return out.split(), c.returncode
async def main():
    server = await asyncio.start_unix_server(serve, "socket")
    print("begun", flush=True)
    totals = await asyncio.gather(*(client(n, "socket") for n in range(5)), child())
    print(totals)
asyncio.run(main())
`)
		r := p.start("/usr/bin/python3", script)
		require.Equal(p, "begun", r.line())
		time.Sleep(500 * time.Millisecond)
		require.Equal(p, "[0, 9900, 19800, 29700, 39600, ([b'1', b'2', b'3'], 0)]\n", r.through().rest())
	})
}

func TestPerl(t *testing.T) {
	needs(t, "perl")
	each(t, func(p *place) {
		script := p.write("words.pl", `
use strict; $| = 1;
my %count; my $x = 1;
my $pid = open(my $child, "-|") // die;
if (!$pid) { for my $i (1..50) { print "$i\n"; select(undef, undef, undef, 0.02) } exit 0 }
local $SIG{ALRM} = sub { $count{alarm}++ };
print "begun\n";
for my $i (1..400000) { $x = ($x * 1103515245 + 12345) % 2147483648; $count{$x % 97}++ if "w$x" =~ /^w\d*7\d*$/ }
alarm 1; sleep 3;
my $sum = 0; while (<$child>) { $sum += $_ } close $child or die;
my $keys = join ",", map { "$_=$count{$_}" } sort keys %count;
print "$sum $keys\n";
`)
		want := p.output("perl", script)
		r := p.start("perl", script)
		require.Equal(p, "begun", r.line())
		time.Sleep(100 * time.Millisecond)
		require.Equal(p, want, "begun\n"+r.through().rest())
	})
}

// TestPipeline stops a shell's pipeline in the middle of its bytes, which a rate
// limit keeps in flight.
func TestPipeline(t *testing.T) {
	needs(t, "dd", "pv", "sha256sum")
	each(t, func(p *place) {
		const size = 6 << 20
		var data strings.Builder
		for i := 0; data.Len() < size; i++ {
			fmt.Fprintf(&data, "%d:%d;", i, i*i)
		}
		text := data.String()[:size]
		p.write("data", text)
		r := p.start("sh", "-c", "echo begun; dd if=data bs=4k 2>log | pv -q -L 2m | tr 0-9 a-j | sha256sum; echo $? ${#0}; cat log | head -2")
		require.Equal(p, "begun", r.line())
		time.Sleep(700 * time.Millisecond)
		sum := sha256.Sum256([]byte(strings.NewReplacer("0", "a", "1", "b", "2", "c", "3", "d", "4", "e",
			"5", "f", "6", "g", "7", "h", "8", "i", "9", "j").Replace(text)))
		require.Equal(p, fmt.Sprintf("%x  -\n0 2\n1536+0 records in\n1536+0 records out\n", sum), r.through().rest())
	})
}

func TestOpenSSLDigest(t *testing.T) {
	needs(t, "openssl")
	each(t, func(p *place) {
		const size = 1 << 30
		path := p.write("zeros", "")
		require.NoError(p, os.Truncate(path, size))
		r := p.start("openssl", "dgst", "-sha512-256", "-r", path)
		require.Eventually(p, func() bool {
			at := offset(r.cmd.Process.Pid, path)
			return at > size/16
		}, patience, time.Millisecond)
		q := r.through()
		want := strings.Fields(p.output("openssl", "dgst", "-sha512-256", "-r", path))[0]
		require.Equal(p, want, strings.Fields(q.rest())[0])
	})
}

// offset is how far a process has read a file; 0 if it does not have it open.
func offset(pid int, path string) int64 {
	links, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	for _, l := range links {
		if to, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", pid, l.Name())); to != path {
			continue
		}
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/fdinfo/%s", pid, l.Name()))
		var pos int64
		_, _ = fmt.Sscanf(string(b), "pos: %d", &pos)
		return pos
	}
	return 0
}

// TestOpenSSLSpeed has several processes that alarms end.
func TestOpenSSLSpeed(t *testing.T) {
	needs(t, "openssl")
	each(t, func(p *place) {
		r := p.start("openssl", "speed", "-seconds", "2", "-bytes", "1024", "-multi", "2", "-mr", "sha256")
		time.Sleep(time.Second)
		out := r.through().rest()
		require.Regexp(p, `(?m)^\+F:\d+:sha256:[\d.]+$`, out)
	})
}

// TestCompiler interrupts gcc in the middle of a compilation.
func TestCompiler(t *testing.T) {
	needs(t, "gcc")
	each(t, func(p *place) {
		var source strings.Builder
		for i := 0; i < 700; i++ {
			fmt.Fprintf(&source, "int f%d(int *a, int n) { int s = %d; for (int i = 0; i < n; i++) { if (a[i] %% %d) s += a[i] * i; else s ^= a[n - i - 1] << %d; } return s; }\n",
				i, i, i+2, i%13)
		}
		p.write("big.c", source.String())
		compile := []string{"gcc", "-O2", "-g", "-c", "big.c", "-o"}
		p.output(append(compile, "whole.o")...)
		r := p.start(append(compile, "interrupted.o")...)
		// gcc, and cc1 that has been at work for a while.
		require.Eventually(p, func() bool {
			for _, c := range childrenOf(r.cmd.Process.Pid) {
				if cpuTicks(c) > 40 {
					return true
				}
			}
			return false
		}, patience, 5*time.Millisecond)
		r.through().rest()
		require.True(p, p.read("whole.o") == p.read("interrupted.o"), "the object files differ")
	})
}

// cpuTicks is the CPU time that a process has used, in ticks of 10 ms; 0 if it
// has ended.
func cpuTicks(pid int) int {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, _ := strings.Cut(string(b), ") ")
	f := strings.Fields(rest)
	if len(f) < 13 {
		return 0
	}
	var user, system int
	_, _ = fmt.Sscan(f[11], &user)
	_, _ = fmt.Sscan(f[12], &system)
	return user + system
}

func TestNode(t *testing.T) {
	needs(t, "node")
	each(t, func(p *place) {
		script := p.write("main.js", `
const { Worker, isMainThread, parentPort } = require('worker_threads')
const { createHash } = require('crypto'), zlib = require('zlib'), fs = require('fs')
if (!isMainThread) {
  let n = 0
  parentPort.on('message', m => { if (m === 'end') { parentPort.postMessage(n); process.exit(0) } n += m })
} else (async () => {
  const worker = new Worker(__filename)
  let digest = Buffer.alloc(32), ticks = 0
  const timer = setInterval(() => ticks++, 10)
  console.log('begun')
  for (let i = 0; i < 300; i++) {
    digest = createHash('sha256').update(digest).update(String(i)).digest()
    worker.postMessage(i)
    if (i % 10 == 0) {
      await fs.promises.writeFile('node.tmp', digest)
      const packed = await new Promise((ok, no) => zlib.gzip(digest, (e, b) => e ? no(e) : ok(b)))
      digest = zlib.gunzipSync(packed)
    }
    await new Promise(ok => setTimeout(ok, 5))
  }
  clearInterval(timer)
  const sum = await new Promise(ok => { worker.on('message', ok); worker.postMessage('end') })
  console.log(digest.toString('hex'), sum, ticks > 50)
})()
`)
		want := p.output("node", script)
		r := p.start("node", script)
		require.Equal(p, "begun", r.line())
		time.Sleep(300 * time.Millisecond)
		require.Equal(p, want, "begun\n"+r.through().rest())
	})
}

// TestSQLite ends sqlite3 in the middle of a transaction: the hot journal and
// the locks are there again when it goes on.
func TestSQLite(t *testing.T) {
	needs(t, "sqlite3")
	each(t, func(p *place) {
		r := p.start("sqlite3", "-batch", "db")
		r.say(`PRAGMA cache_size = 10; CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT);
INSERT INTO t SELECT value, hex(randomblob(200)) FROM generate_series(1, 3000);
CREATE TABLE sums(name TEXT, v INTEGER);
BEGIN IMMEDIATE; UPDATE t SET b = 'x' || a WHERE a % 2; DELETE FROM t WHERE a % 3 = 0;
SELECT 'begun';
`)
		require.Equal(p, "begun", r.line())
		q := r.through()
		q.say("SELECT 'again';\n")
		require.Equal(p, "again", q.line())
		// The lock is held: nobody else can write.
		c := p.command("sqlite3", "-batch", "db", "BEGIN IMMEDIATE;")
		out, err := c.CombinedOutput()
		require.Error(p, err)
		require.Contains(p, string(out), "locked")
		q.say("INSERT INTO sums SELECT 'odd', count(*) FROM t WHERE b LIKE 'x%'; COMMIT; PRAGMA integrity_check;\n")
		require.Equal(p, "ok", q.line())
		require.Empty(p, q.rest())
		require.Equal(p, "ok\n2000|1000\n", p.output("sqlite3", "-batch", "db",
			"PRAGMA integrity_check; SELECT (SELECT count(*) FROM t), v FROM sums;"))
	})
}

// TestSQLiteRollback takes the transaction back after the restart.
func TestSQLiteRollback(t *testing.T) {
	needs(t, "sqlite3")
	each(t, func(p *place) {
		r := p.start("sqlite3", "-batch", "db")
		r.say(`PRAGMA cache_size = 10; CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT);
INSERT INTO t SELECT value, 'as it was' || hex(randomblob(200)) FROM generate_series(1, 3000);
BEGIN; UPDATE t SET b = 'changed';
SELECT 'begun';
`)
		require.Equal(p, "begun", r.line())
		q := r.through()
		q.say("SELECT count(*) FROM t WHERE b = 'changed'; ROLLBACK; PRAGMA integrity_check; SELECT count(*) FROM t WHERE b LIKE 'as it was%';\n")
		require.Equal(p, "3000\nok\n3000\n", q.rest())
	})
}
