package proxy

import (
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// Hashes of "secret", as Apache's htpasswd and openssl passwd make them.
const (
	bcryptOfSecret = "$2a$04$yTcE8nItI35dvXTYLWY88uyedERcYxm3nnkK3ZNFU2pOkoXCMtx5O"
	usersOfSecret  = `
# everybody's password is the same
bcrypt:` + bcryptOfSecret + `
apr1:$apr1$abcdefgh$h9FWgUz3n9YxylKLlR5SQ/
md5:$1$abcdefgh$cHJi5PXp/ki/ktXzqlk6I1
sha256:$5$abcdefgh$gruCpC7VkOTspMQTTSAR8mtlO9Upms.fwqE5y16JVM.
sha512:$6$abcdefgh$ltjgWl6579NluT/Vi1nwEvcil.G5Nbc4NiXZaNGStk8PSwGfQv72N2CKPPrVACtLtip/cZ/1GM/O6IND4WQhG.
sha:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=
ssha:{SSHA}gVK8WC9YyFT1gMsQHTGCgT3sSv5zYWx0
plain:secret
`
)

// htpasswdFile writes a file of users and returns its path.
func htpasswdFile(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "htpasswd")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func authenticator(t *testing.T, text string) *Authenticator {
	t.Helper()
	return NewAuthenticator([]AuthScheme{{Name: "staff", Type: "basic", File: htpasswdFile(t, text), Realm: "Staff only", Refresh: time.Second}}, nil)
}

// as is a request with an Authorization header; "" has none.
func as(authorization string) *request {
	r := req("GET a.test/")
	if authorization != "" {
		r.header["Authorization"] = authorization
	}
	return r
}

func basic(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

func TestAuthorise(t *testing.T) {
	a := authenticator(t, usersOfSecret)
	f := func(scheme, authorization string, want Authorisation) {
		t.Helper()
		for range 2 { // the second time it is remembered
			if got := a.Authorise(scheme, as(authorization)); got != want {
				t.Errorf("%s with %q: got %+v, want %+v", scheme, authorization, got, want)
			}
		}
	}
	in, out := Authorisation{OK: true, Realm: "Staff only"}, Authorisation{Realm: "Staff only"}
	for _, user := range strings.Fields("bcrypt apr1 md5 sha256 sha512 sha ssha plain") {
		f("staff", basic(user, "secret"), in)
		f("staff", basic(user, "Secret"), out)
		f("staff", basic(user, ""), out)
		f("staff", basic(user, "secret "), out)
		f("nobody", basic(user, "secret"), Authorisation{Realm: "nobody"})
	}
	f("staff", basic("nobody", "secret"), out)
	f("staff", basic("", "secret"), out)
	f("staff", basic("# everybody's password is the same", "secret"), out)
	f("staff", "", out)
	f("staff", "Basic", out)
	f("staff", "Basic ", out)
	f("staff", "Basic !!!", out)
	f("staff", "Basic "+base64.StdEncoding.EncodeToString([]byte("plain")), out)
	f("staff", "Bearer "+base64.StdEncoding.EncodeToString([]byte("plain:secret")), out)
	f("staff", strings.Replace(basic("plain", "secret"), "Basic ", "bAsIc   ", 1), in)
	f("staff", basic("plain", strings.Repeat("x", 4096)), out)

	a = nil // without proxy.auth
	f("staff", basic("plain", "secret"), Authorisation{Realm: "staff"})
	if a.Names() != nil || a.Problems() != nil {
		t.Error("none has names or problems")
	}
}

func TestParseUsers(t *testing.T) {
	f := func(text, names, want string) {
		t.Helper()
		u, err := parseUsers(text)
		got := fmt.Sprint(err)
		if len(u.byName) != len(strings.Fields(names)) || got != want {
			t.Errorf("%q\n got %d users, %s\nwant %s, %s", text, len(u.byName), got, names, want)
		}
		for name := range strings.FieldsSeq(names) {
			if u.byName[name] == nil {
				t.Errorf("%q: no user %s", text, name)
			}
		}
	}
	f("", "", "<nil>")
	f("\r\n# x:y\r\na:b\r\n", "a", "<nil>")
	f("a:b\na:c", "a", "<nil>")
	f("a:b\nc\n:d\ne:f", "a e", "line 2 is not user:hash\nline 3 is not user:hash")
	const unknown = `the hash of user "a" is of no kind that is known: make one with htpasswd -B`
	f("a:$argon2id$v=19$m=65536$c2FsdA$aGFzaA", "", "line 1: "+unknown)
	f("a:$apr1$none", "", "line 1: "+unknown)
	f("\na:{SHA}!", "", "line 2: "+unknown)
	f("a:", "", "line 1: "+unknown)
	if u, _ := parseUsers("a:b\na:c"); !u.byName["a"].MatchesPassword("c") {
		t.Error("of two lines the last counts")
	}
}

// A message about a file never holds what stands behind a name.
func TestProblemsHoldNoSecret(t *testing.T) {
	a := authenticator(t, "a:$argon2id$hush\nhush\nb:secret")
	problems := strings.Join(a.Problems(), "\n")
	if !strings.Contains(problems, "line 1") || !strings.Contains(problems, "line 2") || strings.Contains(problems, "hush") {
		t.Errorf("got %s", problems)
	}
	if !a.Authorise("staff", as(basic("b", "secret"))).OK {
		t.Error("the good line of a new file is not used")
	}
}

// slowly is a hash that takes as long as it is told.
type slowly struct {
	password string
	begin    func()
	count    atomic.Int64
}

func (s *slowly) MatchesPassword(pw string) bool {
	s.count.Add(1)
	s.begin()
	return pw == s.password
}

// slowAuthenticator has one user, "slow", whose hash takes d of a bubble's time.
func slowAuthenticator(d time.Duration) (*Authenticator, *slowly) {
	hash := &slowly{password: "secret", begin: func() { time.Sleep(d) }}
	one := &secret{hash, "$slow", true}
	a := NewAuthenticator(nil, nil)
	s := &scheme{AuthScheme: AuthScheme{Name: "staff", Realm: "staff"}}
	s.users.Store(&users{byName: map[string]*secret{"slow": one}, decoy: one})
	a.schemes["staff"] = s
	a.slots = make(chan struct{}, 1)
	return a, hash
}

// A flood of one credential, right or wrong, is computed once, and so is that
// of a user who does not exist.
func TestOneCredentialIsComputedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, hash := slowAuthenticator(100 * time.Millisecond)
		for i, credentials := range []string{basic("slow", "secret"), basic("slow", "wrong"), basic("nobody", "other")} {
			var all sync.WaitGroup
			for range 1000 {
				all.Go(func() {
					if got := a.Authorise("staff", as(credentials)); got.OK != (i == 0) || got.Busy {
						t.Errorf("%d: got %+v", i, got)
					}
				})
			}
			all.Wait()
			if n := hash.count.Load(); n != int64(i+1) {
				t.Fatalf("%d computed, want %d", n, i+1)
			}
		}
		time.Sleep(3 * rememberedFor)
		a.Authorise("staff", as(basic("slow", "secret")))
		if n := hash.count.Load(); n != 4 {
			t.Errorf("%d computed, want 4: what was not used for long is forgotten", n)
		}
	})
}

// A flood of passwords is computed one at a time, and what has no chance to be
// is refused without waiting; who is known passes meanwhile.
func TestFloodOfPasswords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, hash := slowAuthenticator(100 * time.Millisecond)
		if !a.Authorise("staff", as(basic("slow", "secret"))).OK {
			t.Fatal("not let in")
		}
		running := atomic.Int64{}
		hash.begin = func() {
			if running.Add(1) > 1 {
				t.Error("two are computed at once, of which one may be")
			}
			time.Sleep(100 * time.Millisecond)
			running.Add(-1)
		}
		var all sync.WaitGroup
		var busy, wrong atomic.Int64
		start := time.Now()
		for i := range 500 {
			all.Go(func() {
				if got := a.Authorise("staff", as(basic("slow", fmt.Sprint(i)))); got.OK {
					t.Error("a wrong password was right")
				} else if got.Busy {
					busy.Add(1)
				} else {
					wrong.Add(1)
				}
			})
		}
		synctest.Wait()
		if !a.Authorise("staff", as(basic("slow", "secret"))).OK || time.Since(start) > 0 {
			t.Errorf("who is known waits %v for those who are not", time.Since(start))
		}
		all.Wait()
		// One begins at once, and then one each 100 ms of the 2 s that it may
		// take; which of two timers is first at the end is open.
		if n := wrong.Load(); n < 20 || n > 21 || busy.Load() != 500-n || time.Since(start) > authPatience+100*time.Millisecond {
			t.Errorf("%d wrong and %d busy after %v", n, busy.Load(), time.Since(start))
		}
		if len(a.pending) != 0 || len(a.slots) != 0 {
			t.Errorf("%d pending and %d slots taken at the end", len(a.pending), len(a.slots))
		}
		// What was not computed was not remembered either.
		if got := a.Authorise("staff", as(basic("slow", "499"))); got.OK || got.Busy {
			t.Errorf("afterwards: got %+v", got)
		}
	})
}

// A hash that panics frees its slot.
func TestPanicOfAHash(t *testing.T) {
	a, hash := slowAuthenticator(0)
	hash.begin = func() { panic("no hash") }
	func() {
		defer func() { _ = recover() }()
		a.Authorise("staff", as(basic("slow", "secret")))
	}()
	hash.begin = func() {}
	if got := a.Authorise("staff", as(basic("slow", "secret"))); !got.OK || len(a.pending) != 0 {
		t.Errorf("got %+v", got)
	}
}

func TestVerdicts(t *testing.T) {
	clk := newClock()
	v := verdicts{size: 4, keep: time.Minute}
	key := func(i int) verdictKey { return verdictKey{byte(i), byte(i >> 8)} }
	f := func(i int, want bool) {
		t.Helper()
		if got := v.has(key(i), clk.now()); got != want {
			t.Errorf("%d: %v, want %v", i, got, want)
		}
	}
	f(0, false)
	v.add(key(0), clk.now())
	f(0, true)
	f(1, false)
	for i := range 1000 { // it is bounded, and what is used stays
		v.add(key(i), clk.now())
		f(0, true)
		if n := len(v.young) + len(v.old); n > 2*v.size {
			t.Fatalf("%d remembered, want %d at most", n, 2*v.size)
		}
	}
	f(1, false)
	clk.advance(time.Minute)
	f(0, true)
	clk.advance(time.Minute)
	f(0, true)
	clk.advance(2 * time.Minute)
	f(0, false)
}

// TestAuthFile follows a file through its life.
func TestAuthFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		name := filepath.Join(t.TempDir(), "htpasswd")
		a := NewAuthenticator([]AuthScheme{{Name: "staff", Type: "basic", File: name, Realm: "staff", Refresh: 5 * time.Second}}, nil)
		ctx, cancel := context.WithCancel(context.Background())
		ran := make(chan error)
		go func() { ran <- a.Run(ctx) }()
		f := func(after time.Duration, user string, in bool, problem string) {
			t.Helper()
			time.Sleep(after)
			synctest.Wait()
			if got := a.Authorise("staff", as(basic(user, "secret"))).OK; got != in {
				t.Errorf("%s is let in: %v, want %v", user, got, in)
			}
			problems := strings.Join(a.Problems(), "")
			if problem == "" && problems != "" || !strings.Contains(problems, problem) {
				t.Errorf("problem %q, want %q", problems, problem)
			}
		}
		write := func(text string) {
			t.Helper()
			if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		f(0, "ann", false, "its routes answer 401 to everyone until it can be read")
		write("ann:secret")
		f(4*time.Second, "ann", false, "401")
		f(2*time.Second, "ann", true, "")
		write("bob:secret") // of the same length
		f(5*time.Second, "ann", false, "")
		f(0, "bob", true, "")
		write("bob:secret\nann") // half of it
		f(5*time.Second, "bob", true, "line 2 is not user:hash; the users read before stay until it is corrected")
		write("bob:secret\nann:secret")
		f(5*time.Second, "ann", true, "")
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
		f(5*time.Second, "ann", true, "") // someone may be about to replace it
		f(5*time.Second, "ann", false, "no such file")
		write("ann:secret")
		f(5*time.Second, "ann", true, "")
		write("")
		f(5*time.Second, "ann", false, "") // all are gone
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(name, 0o700); err != nil {
			t.Fatal(err)
		}
		f(5*time.Second, "ann", false, "is no regular file; the users read before stay")
		cancel()
		if err := <-ran; err != nil {
			t.Error("Run:", err)
		}
	})
}

// A new file does not make everybody pay for the hash again.
func TestReloadKeepsWhatIsKnown(t *testing.T) {
	a, hash := slowAuthenticator(0)
	ask := func() bool { return a.Authorise("staff", as(basic("slow", "secret"))).OK }
	one := a.schemes["staff"].users.Load().byName["slow"]
	ask()
	a.schemes["staff"].users.Store(&users{byName: map[string]*secret{"slow": {one.EncodedPasswd, one.text, true}}})
	if !ask() || hash.count.Load() != 1 {
		t.Errorf("%d computed, want 1", hash.count.Load())
	}
	a.schemes["staff"].users.Store(&users{byName: map[string]*secret{"slow": {&slowly{password: "new", begin: func() {}}, "$other", true}}})
	if ask() {
		t.Error("the password of before is still let in")
	}
}

func BenchmarkAuthorise(b *testing.B) {
	a, _ := slowAuthenticator(0)
	var r Request = as(basic("slow", "secret"))
	b.ReportAllocs()
	for b.Loop() {
		a.Authorise("staff", r)
	}
}
