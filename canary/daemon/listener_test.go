package daemon

import (
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestParseListener(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		l, err := ParseListener(text)
		got := l.String()
		if err != nil {
			got = "error: " + err.Error()
		}
		if got != want {
			t.Errorf("%q\n got %s\nwant %s", text, got, want)
		}
	}
	f("web", "service=web;addr=/tmp/maxwells-daemon.sock;mode=0666")
	f("service=web", "service=web;addr=/tmp/maxwells-daemon.sock;mode=0666")
	f("service=web;addr=/run/lb-daemon/web.sock;mode=0660", "service=web;addr=/run/lb-daemon/web.sock;mode=0660")
	f(" service=web; addr=unix:/run/s", "service=web;addr=/run/s;mode=0666")
	f("addr=unix:///run/s;service=web;mode=600", "service=web;addr=/run/s;mode=0600")
	f("service=web;addr=127.0.0.1:9997", "service=web;addr=tcp://127.0.0.1:9997")
	f("service=web;addr=tcp://[::1]:9997", "service=web;addr=tcp://[::1]:9997")

	f("", `error: service="": want the name of the service that this listener answers for, because the protocol names none`)
	f("addr=/run/s", `error: service="": want the name of the service that this listener answers for, because the protocol names none`)
	f("service=a b", `error: service="a b": want the name of the service that this listener answers for, because the protocol names none`)
	f("service=web;", `error: "": want name=value, such as service=web;addr=/run/lb-daemon/web.sock;mode=0666`)
	f("service=web;service=api", "error: service is there twice: one listener serves one service at one address; write another listener, after a comma")
	f("service=web;path=/run/s", `error: "path" is no field of a listener: there are service, addr and mode`)
	f("service=web;mode=rw", `error: mode="rw": want the permissions of the socket in octal, such as 0666 or 0660`)
	f("service=web;mode=0", `error: mode="0": want the permissions of the socket in octal, such as 0666 or 0660`)
	f("service=web;mode=1777", `error: mode="1777": want the permissions of the socket in octal, such as 0666 or 0660`)
	f("service=web;addr=:9997;mode=0666", "error: mode: a TCP listener has none; everybody who reaches it may ask")
	f("service=web;addr=unix:s", `error: addr="unix:s": the path of a socket begins with a slash`)
	f("service=web;addr=/run/", `error: addr="/run/": want the path of a file`)
	f("service=web;addr=/"+strings.Repeat("x", 107), `error: addr="/`+strings.Repeat("x", 107)+`": the path of a socket has at most 107 bytes`)
	f("service=web;addr=s", `error: addr="s": want a path such as /run/lb-daemon/web.sock, or host:port such as 127.0.0.1:9997 (address s: missing port in address)`)
	f("service=web;addr=a:http", `error: addr="a:http": want a path such as /run/lb-daemon/web.sock, or host:port such as 127.0.0.1:9997 (strconv.ParseUint: parsing "http": invalid syntax)`)
}

func FuzzParseListener(f *testing.F) {
	for _, s := range []string{"web", "service=web;addr=/run/s;mode=0660", "service=web;addr=tcp://[::1]:1", ";;", "=", "service=\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		l, err := ParseListener(text)
		if err != nil {
			return
		}
		if again, err := ParseListener(l.String()); err != nil || again != l {
			t.Errorf("%q is %+v, prints %q, which is %+v, %v", text, l, l, again, err)
		}
	})
}

func TestCheckListeners(t *testing.T) {
	f := func(want string, texts ...string) {
		t.Helper()
		var all []Listener
		for _, s := range texts {
			l, err := ParseListener(s)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, l)
		}
		got := ""
		if err := CheckListeners(all); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%q: %q, want %q", texts, got, want)
		}
	}
	f("")
	f("", "web", "service=api;addr=/run/s", "service=shop;addr=127.0.0.1:0", "service=x;addr=127.0.0.1:0")
	f(`services "web" and "api" have the same address /tmp/maxwells-daemon.sock: the protocol names no service, so give each one of its own with addr=`, "web", "api")
}

// The socket has its mode whatever the umask, from the first moment: nothing is
// at the path before. It is gone when the listener is closed, with all that was
// needed to make it.
func TestSocket(t *testing.T) {
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	for _, mode := range []fs.FileMode{0o666, 0o660, 0o600} {
		dir := t.TempDir()
		l := Listener{Service: "web", Network: "unix", Addr: filepath.Join(dir, "web.sock"), Mode: mode}
		ln, err := l.Open()
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Lstat(l.Addr)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != fs.ModeSocket|mode {
			t.Errorf("mode %s, want %s", info.Mode(), fs.ModeSocket|mode)
		}
		if got := ln.Addr().String(); got != l.Addr {
			t.Errorf("Addr is %s, want %s", got, l.Addr)
		}
		ln.Close()
		if left, _ := os.ReadDir(dir); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	}
}

// What is at the path already: a socket that nobody answers at is replaced, and
// nothing else is touched.
func TestWhatIsThere(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "web.sock")
	l := Listener{Service: "web", Network: "unix", Addr: path, Mode: 0o666}
	f := func(what, wantErr string) {
		t.Helper()
		before, _ := os.Lstat(path)
		ln, err := l.Open()
		if wantErr != "" {
			if err == nil {
				ln.Close()
			}
			if err == nil || !strings.Contains(err.Error(), wantErr) {
				t.Errorf("%s: %v, want %s", what, err, wantErr)
			}
			if after, err := os.Lstat(path); err != nil || !os.SameFile(before, after) {
				t.Errorf("%s: it was touched: %v", what, err)
			}
			return
		}
		if err != nil {
			t.Errorf("%s: %v", what, err)
			return
		}
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Errorf("%s: %v", what, err)
		} else {
			c.Close()
		}
		ln.Close()
		if entries, _ := os.ReadDir(dir); len(entries) > 0 {
			t.Errorf("%s: left behind: %v", what, entries)
		}
	}
	f("nothing", "")

	stale := func() *net.UnixListener {
		ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		ln.SetUnlinkOnClose(false)
		return ln
	}
	stale().Close()
	f("a stale socket", "")

	alive := stale()
	f("a socket that answers", "another program answers there")
	alive.Close()
	os.Remove(path)

	if err := os.WriteFile(path, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	f("a file", "is no socket")
	os.Remove(path)
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Fatal(err)
	}
	f("a directory", "is no socket")
	os.Remove(path)
	target := filepath.Join(t.TempDir(), "elsewhere")
	if err := os.Symlink(target, path); err != nil {
		t.Fatal(err)
	}
	f("a link", "is no socket")
	os.Remove(path)

	l.Addr = filepath.Join(dir, "no", "such", "web.sock")
	if _, err := l.Open(); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("a directory that is not there: %v", err)
	}
}

// A listener that was replaced while it ran leaves the other's socket alone.
func TestCloseLeavesAnothersSocket(t *testing.T) {
	l := Listener{Service: "web", Network: "unix", Addr: filepath.Join(t.TempDir(), "s"), Mode: 0o666}
	first, err := l.Open()
	if err != nil {
		t.Fatal(err)
	}
	os.Remove(l.Addr)
	second, err := l.Open()
	if err != nil {
		t.Fatal(err)
	}
	first.Close()
	if c, err := net.Dial("unix", l.Addr); err != nil {
		t.Error(err)
	} else {
		c.Close()
	}
	second.Close()
	if _, err := os.Lstat(l.Addr); err == nil {
		t.Error("the socket is still there")
	}
}
