package webhook

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"serin/canary/rollout"
)

const maxSecret = 16 << 10 // bytes of a file

// resolve returns what a text of a document stands for now: env:NAME and
// file:PATH what they hold, without space around it, any other text itself.
// Errors name the reference and never what it holds.
//
// Who may write documents must not get at what the balancer alone should know:
// its own variables (LB_…, CONSUL_…), /proc, and what is Private are refused.
func (n *Notifier) resolve(text string) (string, error) {
	if name, ok := strings.CutPrefix(text, "env:"); ok {
		if n.private(text) || rollout.IsOwn(name) {
			return "", fmt.Errorf("%s is the balancer's own: use another variable", text)
		}
		value := strings.TrimSpace(os.Getenv(name))
		if value == "" {
			return "", fmt.Errorf("%s: the balancer has no such variable, or it is empty", text)
		}
		return value, nil
	}
	path, ok := strings.CutPrefix(text, "file:")
	if !ok {
		return text, nil
	}
	if !filepath.IsAbs(path) {
		return "", fmt.Errorf("%s: the path does not begin with /", text)
	}
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", fmt.Errorf("%s: the file cannot be read: %s", text, cause(err))
	}
	if n.private("file:"+path) || n.private(text) || path == "/proc" || strings.HasPrefix(path, "/proc/") {
		return "", fmt.Errorf("%s is the balancer's own: use another file", text)
	}
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return "", fmt.Errorf("%s: the file cannot be read: %s", text, cause(err))
	case !info.Mode().IsRegular():
		return "", fmt.Errorf("%s is not a regular file", text)
	}
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return "", fmt.Errorf("%s: the file cannot be read: %s", text, cause(err))
	}
	defer f.Close()
	// Another file may have come to the path since, or be the same by another name.
	is, err := f.Stat()
	switch {
	case err != nil:
		return "", fmt.Errorf("%s: the file cannot be read: %s", text, cause(err))
	case !os.SameFile(info, is) || !is.Mode().IsRegular():
		return "", fmt.Errorf("%s: the file was replaced while it was read", text)
	case n.privateFile(is):
		return "", fmt.Errorf("%s is the balancer's own: use another file", text)
	}
	value, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	switch held := strings.TrimSpace(string(value)); {
	case err != nil:
		return "", fmt.Errorf("%s: the file cannot be read: %s", text, cause(err))
	case len(value) > maxSecret:
		return "", fmt.Errorf("%s: the file has more than %d bytes", text, maxSecret)
	case held == "":
		return "", fmt.Errorf("%s: the file is empty", text)
	default:
		return held, nil
	}
}

// private tells whether no document may use the reference.
func (n *Notifier) private(reference string) bool {
	path, file := strings.CutPrefix(reference, "file:")
	return slices.ContainsFunc(n.Private, func(p string) bool {
		own, ok := strings.CutPrefix(p, "file:")
		if !ok || !file {
			return p == reference
		}
		own, _ = filepath.Abs(own)
		real, err := filepath.EvalSymlinks(own)
		return filepath.Clean(own) == filepath.Clean(path) || err == nil && real == path
	})
}

// privateFile tells whether a file is one that no document may use, whatever its
// name is: a hard link has another.
func (n *Notifier) privateFile(is os.FileInfo) bool {
	return slices.ContainsFunc(n.Private, func(p string) bool {
		path, ok := strings.CutPrefix(p, "file:")
		if !ok {
			return false
		}
		own, err := os.Stat(path)
		return err == nil && os.SameFile(own, is)
	})
}

// usable refuses addresses that nobody can be told at, whatever name they stand
// for: link-local ones are where clouds tell machines their secrets.
func usable(_, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	if ip := at.Addr().Unmap(); ip.IsUnspecified() || ip.IsMulticast() || ip.IsLinkLocalUnicast() {
		return errUnusable
	}
	return nil
}

var errUnusable = errors.New("its address is link-local, multicast or unspecified, where nothing is sent")

// cause is what failed, without the path.
func cause(err error) string {
	var at *os.PathError
	if errors.As(err, &at) {
		err = at.Err
	}
	return err.Error()
}

// shown is an address as logs may have it: a reference as it is, of an address
// the host alone, because paths and queries hold tokens.
func shown(address string) string {
	if rollout.IsReference(address) {
		return address
	}
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return "an address that cannot be read"
	}
	return u.Scheme + "://" + u.Host
}

// plain says why a request failed, in words that hold nothing of the request:
// net/http's own errors have the address in them.
func plain(err error) string {
	var dns *net.DNSError
	var cert *tls.CertificateVerificationError
	var timeout interface{ Timeout() bool }
	switch {
	case errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout():
		return "no answer within " + Timeout.String()
	case errors.As(err, &dns):
		return "the name of its host cannot be resolved"
	case errors.As(err, &cert):
		return "its certificate is not trusted"
	case errors.Is(err, errUnusable):
		return errUnusable.Error()
	case errors.Is(err, syscall.ECONNREFUSED):
		return "the connection is refused"
	}
	return "the connection failed"
}
