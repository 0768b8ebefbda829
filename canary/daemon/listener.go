package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strconv"
	"strings"
)

// What a listener has where nothing is said.
const (
	DefaultPath = "/tmp/maxwells-daemon.sock" // that of maxwells-daemon
	DefaultMode = fs.FileMode(0o666)
)

// Listener is where one service is asked for.
type Listener struct {
	Service string
	Network string // unix or tcp
	Addr    string // a path, or host:port
	Mode    fs.FileMode
}

// ParseListener reads "service=web;addr=/run/lb-daemon/web.sock;mode=0666". The
// address is a path, or host:port for TCP (also unix:PATH, tcp://host:port);
// without one it is [DefaultPath]. The mode is that of the socket, in octal. A
// text without "=" is the service's name.
func ParseListener(text string) (Listener, error) {
	l := Listener{Network: "unix", Addr: DefaultPath, Mode: DefaultMode}
	if !strings.ContainsAny(text, "=;") {
		text = "service=" + text
	}
	seen := map[string]bool{}
	for field := range strings.SplitSeq(text, ";") {
		name, value, ok := strings.Cut(strings.TrimSpace(field), "=")
		if !ok {
			return l, fmt.Errorf("%q: want name=value, such as service=web;addr=/run/lb-daemon/web.sock;mode=0666", field)
		}
		if seen[name] {
			return l, fmt.Errorf("%s is there twice: one listener serves one service at one address; write another listener, after a comma", name)
		}
		seen[name] = true
		var err error
		switch name {
		case "service":
			l.Service = value
		case "addr":
			l.Network, l.Addr, err = parseAddr(value)
		case "mode":
			l.Mode, err = parseMode(value)
		default:
			err = fmt.Errorf("%q is no field of a listener: there are service, addr and mode", name)
		}
		if err != nil {
			return l, err
		}
	}
	if l.Service == "" || strings.ContainsFunc(l.Service, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return l, fmt.Errorf("service=%q: want the name of the service that this listener answers for, because the protocol names none", l.Service)
	}
	if l.Network == "tcp" {
		if seen["mode"] {
			return l, errors.New("mode: a TCP listener has none; everybody who reaches it may ask")
		}
		l.Mode = 0
	}
	return l, nil
}

// parseAddr reads where a listener is.
func parseAddr(text string) (network, addr string, err error) {
	path, unix := strings.CutPrefix(text, "unix:")
	if unix {
		path = strings.TrimPrefix(path, "//")
	}
	if unix || strings.HasPrefix(text, "/") {
		const most = 107 // bytes of sun_path without its end; see unix(7)
		switch {
		case !strings.HasPrefix(path, "/"):
			return "", "", fmt.Errorf("addr=%q: the path of a socket begins with a slash", text)
		case strings.HasSuffix(path, "/") || strings.ContainsRune(path, 0):
			return "", "", fmt.Errorf("addr=%q: want the path of a file", text)
		case len(path) > most:
			return "", "", fmt.Errorf("addr=%q: the path of a socket has at most %d bytes", text, most)
		}
		return "unix", path, nil
	}
	addr = strings.TrimPrefix(text, "tcp://")
	_, port, err := net.SplitHostPort(addr)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return "", "", fmt.Errorf("addr=%q: want a path such as /run/lb-daemon/web.sock, or host:port such as 127.0.0.1:9997 (%w)", text, err)
	}
	return "tcp", addr, nil
}

func parseMode(text string) (fs.FileMode, error) {
	m, err := strconv.ParseUint(text, 8, 32)
	if err != nil || m > 0o777 || m == 0 {
		return 0, fmt.Errorf("mode=%q: want the permissions of the socket in octal, such as 0666 or 0660", text)
	}
	return fs.FileMode(m), nil
}

// String is what ParseListener reads.
func (l Listener) String() string {
	if l.Network == "tcp" {
		return "service=" + l.Service + ";addr=tcp://" + l.Addr
	}
	return fmt.Sprintf("service=%s;addr=%s;mode=%04o", l.Service, l.Addr, l.Mode)
}

// CheckListeners returns what is wrong with several together: two at one address.
func CheckListeners(all []Listener) error {
	at := map[string]string{}
	for _, l := range all {
		if other, taken := at[l.Addr]; taken && !strings.HasSuffix(l.Addr, ":0") {
			return fmt.Errorf("services %q and %q have the same address %s: the protocol names no service, so give each one of its own with addr=", other, l.Service, l.Addr)
		}
		at[l.Addr] = l.Service
	}
	return nil
}

// Open opens the listener. A socket is at its path with its mode from the first
// moment; a stale one, which nobody answers at, is replaced, and no other kind
// of file is. Closing the net.Listener removes the socket.
func (l Listener) Open() (net.Listener, error) {
	if l.Network == "tcp" {
		return net.Listen("tcp", l.Addr)
	}
	return bind(l.Addr, l.Mode)
}
