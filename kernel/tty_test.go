package kernel_test

import "testing"

// TestPty has both ends of a pseudoterminal in the tree, as a terminal
// multiplexer has: the other side is the controlling terminal of a session of
// its own, with a foreground process group.
func TestPty(t *testing.T) {
	killAndRestart(t, `
import termios, tty
master, slave = os.openpty()
fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 101, 0, 0))
a = termios.tcgetattr(slave); a[3] &= ~termios.ECHO; a[6][termios.VINTR] = b"\x07"; termios.tcsetattr(slave, termios.TCSANOW, a)
child = os.fork()
if child == 0:
    os.close(master)
    os.setsid()
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    control = os.open("/dev/tty", os.O_RDWR)
    job = os.fork()
    if job == 0:
        os.setpgid(0, 0)
        signal.signal(signal.SIGINT, lambda s, f: (os.write(control, b"interrupted\n"), os._exit(5)))
        while True: time.sleep(0.05)
    os.setpgid(job, job)
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    os.tcsetpgrp(slave, job)
    os.waitpid(job, 0)
    os.tcsetpgrp(slave, os.getpid())
    line = os.read(slave, 100)
    os.write(slave, b"got " + line)
    os.write(slave, b"sid %d fg %d\n" % (os.getsid(0), os.tcgetpgrp(control)))
    os._exit(0)
m2, s2 = os.openpty()
os.close(s2)                       # hung up
m3, s3 = os.openpty()
fcntl.ioctl(m3, termios.TIOCPKT, struct.pack("i", 1))
time.sleep(0.5)
ready()
same(struct.unpack("HHHH", fcntl.ioctl(slave, termios.TIOCGWINSZ, b"\0" * 8))[:2], (33, 101))
a = termios.tcgetattr(slave)
same((a[3] & termios.ECHO, a[6][termios.VINTR]), (0, b"\x07"))
os.write(master, b"\x07")          # the job is interrupted
same(os.read(master, 100), b"interrupted\r\n")
os.write(master, b"line\n")
got = b""
while got.count(b"\n") < 2: got += os.read(master, 100)
same(got, b"got line\r\nsid %d fg %d\r\n" % (child, child))
os.waitpid(child, 0)
try: os.read(m2, 1); assert False
except OSError as e: same(e.errno, errno.EIO)
os.write(s3, b"x"); same(os.read(m3, 10), b"\0x")
print("ok")
`)
}
