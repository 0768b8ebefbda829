package proxy

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
)

// scheme is an AuthScheme and the users of its file. All but users and problem
// belongs to the one goroutine that calls look.
type scheme struct {
	AuthScheme
	log     hclog.Logger
	users   atomic.Pointer[users]  // nil until the file was read once
	problem atomic.Pointer[string] // with the file as it is; "" is none

	last fs.FileInfo // of what was read last, nil where it must be read again
	sum  [sha256.Size]byte
	gone int // looks in a row at which there was no file
}

// goneAfter is how many looks in a row a file must be missing for its users to
// be gone with it: an editor may be putting a new one in its place.
const goneAfter = 2

// settled is how old a file's time must be for a change to show in it.
const settled = 2 * time.Second

// follow looks at the file each Refresh until ctx ends.
func (s *scheme) follow(ctx context.Context) {
	tick := time.NewTicker(max(s.Refresh, minRefresh))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			s.look()
		}
	}
}

// look reads the file if it has changed. One with a line that cannot be read
// changes nothing, but at first, where its other lines are better than none.
func (s *scheme) look() {
	info, err := os.Stat(s.File)
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no regular file", s.File)
	}
	if err != nil {
		s.missing(err)
		return
	}
	s.gone = 0
	if l := s.last; l != nil && os.SameFile(l, info) && l.ModTime().Equal(info.ModTime()) && l.Size() == info.Size() {
		return
	}
	text, err := os.ReadFile(s.File)
	if err != nil {
		s.missing(err)
		return
	}
	if s.last = info; time.Since(info.ModTime()) < settled {
		s.last = nil
	}
	sum := sha256.Sum256(text)
	if sum == s.sum && s.users.Load() != nil {
		return
	}
	s.sum = sum
	u, err := parseUsers(string(text))
	switch had := s.users.Load(); {
	case err == nil:
		s.users.Store(u)
		s.say("")
		s.log.Info("users of an auth scheme are read", "users", len(u.byName))
	case had == nil:
		s.users.Store(u)
		s.say(fmt.Sprintf("auth scheme %s: %s: %v; the other lines are used", s.Name, s.File, oneLine(err)))
	default:
		s.say(fmt.Sprintf("auth scheme %s: %s: %v; the users read before stay until it is corrected", s.Name, s.File, oneLine(err)))
	}
}

// missing notes that the file cannot be read. One that is gone takes its users
// with it: who removes it wants that. What cannot be read changes nothing.
func (s *scheme) missing(err error) {
	s.last = nil
	switch had := s.users.Load() != nil; {
	case had && !errors.Is(err, fs.ErrNotExist):
		s.say(fmt.Sprintf("auth scheme %s: %v; the users read before stay until it can be read", s.Name, err))
		return
	case had:
		if s.gone++; s.gone < goneAfter {
			return
		}
	}
	s.users.Store(nil)
	s.sum = [sha256.Size]byte{}
	s.say(fmt.Sprintf("auth scheme %s: %v; its routes answer 401 to everyone until it can be read", s.Name, err))
}

// say makes text the problem of the file, and logs it when it is another.
func (s *scheme) say(text string) {
	old := s.problem.Swap(&text)
	if text != "" && (old == nil || *old != text) {
		s.log.Warn(text)
	}
}

// oneLine writes joined errors in one line.
func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }
