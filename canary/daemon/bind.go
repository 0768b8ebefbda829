package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// bind listens at a path. The socket is made in a directory that only we may
// enter, gets its mode there, and is then linked to the path: so nobody meets it
// with another mode, and what has come to the path meanwhile is not replaced.
func bind(path string, mode fs.FileMode) (net.Listener, error) {
	if err := removeStale(path); err != nil {
		return nil, err
	}
	private, err := os.MkdirTemp(filepath.Dir(path), ".lb-")
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	defer os.RemoveAll(private)
	made := filepath.Join(private, "s")
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: made, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	ln.SetUnlinkOnClose(false)
	b := &bound{UnixListener: ln, path: path}
	if err = os.Chmod(made, mode); err == nil {
		b.file, err = os.Lstat(made)
	}
	if err == nil {
		err = os.Link(made, path)
	}
	if err != nil {
		ln.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return b, nil
}

// bound is a listener whose socket is at path.
type bound struct {
	*net.UnixListener
	path string
	file fs.FileInfo // the socket
	once sync.Once
}

// Addr returns where clients find the listener.
func (b *bound) Addr() net.Addr { return &net.UnixAddr{Name: b.path, Net: "unix"} }

// Close ends the listener and removes its socket, unless another has come to
// its place.
func (b *bound) Close() error {
	b.once.Do(func() {
		if now, err := os.Lstat(b.path); err == nil && os.SameFile(now, b.file) {
			_ = os.Remove(b.path)
		}
	})
	return b.UnixListener.Close()
}

// removeStale removes the socket at path if nobody answers there.
func removeStale(path string) error {
	was, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case was.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("%s is there and is no socket (%s): it is left alone; move it away, or choose another addr", path, was.Mode())
	}
	c, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		c.Close()
		return fmt.Errorf("%s: another program answers there; stop it, or choose another addr", path)
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("%s is there, and whether somebody answers cannot be found out: %w", path, err)
	}
	// Moved away first: what another program put there since is not removed.
	private, err := os.MkdirTemp(filepath.Dir(path), ".lb-")
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	defer os.RemoveAll(private)
	moved := filepath.Join(private, "s")
	if err := os.Rename(path, moved); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return fmt.Errorf("%s: the stale socket cannot be removed: %w", path, err)
	}
	if is, err := os.Lstat(moved); err == nil && !os.SameFile(was, is) {
		_ = os.Link(moved, path)
		return fmt.Errorf("%s: another program has just begun to answer there; stop it, or choose another addr", path)
	}
	return nil
}
