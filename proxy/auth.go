package proxy

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

const (
	// A password that was compared with its hash is remembered, by a keyed
	// hash, for five to ten minutes after it was last used.
	rememberedFor   = 5 * time.Minute
	rememberedRight = 4096
	rememberedWrong = 4096

	authPatience = 2 * time.Second // for a turn to compute a hash
	authWaiting  = 64              // credentials that may wait for one at once
	authLongest  = 2048            // bytes of credentials that are looked at
)

// Authenticator judges credentials by the schemes of proxy.auth. Passwords are
// compared in constant time. What a slow hash said is remembered, so that a
// client pays for it once; and only half of the processors (at least one)
// compute such hashes at a time, so that a flood of wrong passwords leaves the
// rest for other routes. It is made by NewAuthenticator and safe for concurrent
// use; a nil one refuses everybody.
type Authenticator struct {
	schemes map[string]*scheme
	names   []string
	log     hclog.Logger
	secret  [32]byte // of the keys of verdicts
	slots   chan struct{}
	now     func() time.Time

	mu           sync.Mutex // guards what follows
	right, wrong verdicts
	pending      map[verdictKey]*check
}

// check is a comparison under way.
type check struct {
	done     chan struct{}
	ok, busy bool // set before done is closed
}

// NewAuthenticator returns one for schemes, whose files it reads. A file that
// cannot be read lets nobody in, and is a Problem, until it can. log may be nil.
func NewAuthenticator(schemes []AuthScheme, log hclog.Logger) *Authenticator {
	if log == nil {
		log = hclog.NewNullLogger()
	}
	a := &Authenticator{
		schemes: map[string]*scheme{},
		names:   AuthNames(schemes),
		log:     log,
		slots:   make(chan struct{}, max(runtime.GOMAXPROCS(0)/2, 1)),
		now:     time.Now,
		right:   verdicts{size: rememberedRight, keep: rememberedFor},
		wrong:   verdicts{size: rememberedWrong, keep: rememberedFor},
		pending: map[verdictKey]*check{},
	}
	rand.Read(a.secret[:])
	for _, s := range schemes {
		own := &scheme{AuthScheme: s, log: log.With("scheme", s.Name, "file", s.File)}
		own.look()
		a.schemes[s.Name] = own
	}
	return a
}

// Names returns the names of the schemes, in the order of proxy.auth: auth= of
// any other name lets nobody in. The caller must not change it.
func (a *Authenticator) Names() []string {
	if a == nil {
		return nil
	}
	return a.names
}

// Problems returns what is wrong with the files now, as sentences, in the order
// of the schemes.
func (a *Authenticator) Problems() (problems []string) {
	for _, name := range a.Names() {
		if p := a.schemes[name].problem.Load(); p != nil && *p != "" {
			problems = append(problems, *p)
		}
	}
	return problems
}

// Run looks at the files, each as often as its scheme says, until ctx ends. The
// error is always nil.
func (a *Authenticator) Run(ctx context.Context) error {
	var all sync.WaitGroup
	for _, s := range a.schemes {
		all.Go(func() { s.follow(ctx) })
	}
	all.Wait()
	return nil
}

// Authorise judges the credentials of r by the named scheme.
func (a *Authenticator) Authorise(name string, r Request) Authorisation {
	var s *scheme
	if a != nil {
		s = a.schemes[name]
	}
	if s == nil {
		return Authorisation{Realm: name}
	}
	result := Authorisation{Realm: s.Realm}
	header, _ := r.Header("Authorization")
	name, password, ok := basicCredentials(header)
	u := s.users.Load()
	if !ok || u == nil {
		return result
	}
	own, known := u.byName[name]
	if !known {
		if own = u.decoy; own == nil {
			return result
		}
	}
	ok, result.Busy = a.matches(own, password)
	result.OK = ok && known
	return result
}

// basicCredentials reads an Authorization header (RFC 7617, 2).
func basicCredentials(header string) (user, password string, ok bool) {
	scheme, encoded, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "Basic") || len(encoded) > authLongest {
		return "", "", false
	}
	text, err := base64.StdEncoding.DecodeString(strings.TrimLeft(encoded, " "))
	if err != nil {
		return "", "", false
	}
	return strings.Cut(string(text), ":")
}

// matches reports whether password is the one of s; busy is that nobody knows.
func (a *Authenticator) matches(s *secret, password string) (ok, busy bool) {
	if !s.slow {
		return s.MatchesPassword(password), false
	}
	key := a.key(s, password)
	now := a.now()
	a.mu.Lock()
	if a.right.has(key, now) {
		a.mu.Unlock()
		return true, false
	}
	if a.wrong.has(key, now) {
		a.mu.Unlock()
		return false, false
	}
	c := a.pending[key]
	own := c == nil
	switch {
	case own && len(a.pending) >= authWaiting:
		a.mu.Unlock()
		return false, true
	case own:
		c = &check{done: make(chan struct{}), busy: true}
		a.pending[key] = c
	}
	a.mu.Unlock()
	if own {
		a.run(c, key, s, password)
	}
	<-c.done
	return c.ok, c.busy
}

// run computes a hash once there is a slot, and remembers what it says.
func (a *Authenticator) run(c *check, key verdictKey, s *secret, password string) {
	defer func() {
		a.mu.Lock()
		switch delete(a.pending, key); {
		case c.busy:
		case c.ok:
			a.right.add(key, a.now())
		default:
			a.wrong.add(key, a.now())
		}
		a.mu.Unlock()
		close(c.done)
	}()
	patience := time.NewTimer(authPatience)
	defer patience.Stop()
	select {
	case a.slots <- struct{}{}:
	case <-patience.C:
		return
	}
	defer func() { <-a.slots }()
	c.ok = s.MatchesPassword(password)
	c.busy = false
}

// key returns what stands for a password and the hash it is compared with. A
// hash that changes makes another key, so that a new file forgets nothing else.
func (a *Authenticator) key(s *secret, password string) verdictKey {
	var buf [512]byte
	b := append(buf[:0], a.secret[:]...)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(s.text)))
	return sha256.Sum256(append(append(b, s.text...), password...))
}
