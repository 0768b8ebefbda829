package proxy

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"serin/registry"
	"serin/route"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// table builds a table from lines "service id addr state tags…", with "/" for
// the tag urlprefix-/ and any tag that starts with "urlprefix-" as it stands;
// "_" is a blank in a tag. States are registry.Health's words.
func table(t testing.TB, lines string, splits ...*route.Split) *route.Table {
	t.Helper()
	services := map[string]*registry.Service{}
	for line := range strings.Lines(lines) {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		s := services[f[0]]
		if s == nil {
			s = &registry.Service{Name: f[0]}
			services[f[0]] = s
		}
		in := registry.Instance{Service: f[0], ID: f[1], Node: "n1", Addr: f[2], Weight: 1}
		if err := in.Health.UnmarshalText([]byte(f[3])); err != nil {
			t.Fatal(err)
		}
		in.Ready = in.Health == registry.Passing
		for _, tag := range f[4:] {
			if strings.HasPrefix(tag, "/") {
				tag = "urlprefix-" + tag
			}
			in.Tags = append(in.Tags, strings.ReplaceAll(tag, "_", " "))
		}
		s.Instances = append(s.Instances, in)
	}
	var all []*registry.Service
	for _, s := range services {
		s.Normalize()
		all = append(all, s)
	}
	set := route.Splits{ByService: map[string]*route.Split{}}
	for _, s := range splits {
		set.ByService[s.Service] = s
	}
	tab := new(route.Builder).Build(route.Inputs{Snapshot: registry.New(all...), Splits: set})
	for _, p := range tab.Problems() {
		if p.Tag != "" || p.Instance != "" { // an arm may well be empty in a test
			t.Fatalf("problem in the test's table: %+v", p)
		}
	}
	return tab
}

// request is a Request made of a line "METHOD host/path?query header:value… cookie:name=value…",
// with from:address for the client, via:address for the peer that is believed to
// forward for it, and secure:yes where that one says that the client came over TLS.
type request struct {
	method, host, path, query string
	header, cookie            map[string]string
	client                    netip.Addr
	via                       []netip.Addr
	tls, secure               bool
}

func get1(m map[string]string, name string) (string, bool) { v, ok := m[name]; return v, ok }

func (r *request) Method() string                    { return r.method }
func (r *request) Host() string                      { return r.host }
func (r *request) Path() string                      { return r.path }
func (r *request) RawQuery() string                  { return r.query }
func (r *request) Header(name string) (string, bool) { return get1(r.header, name) }
func (r *request) Cookie(name string) (string, bool) { return get1(r.cookie, name) }
func (r *request) Client() netip.Addr                { return r.client }
func (r *request) TLS() bool                         { return r.tls }
func (r *request) Secure() bool                      { return r.tls || r.secure }
func (r *request) Chain(buf []netip.Addr) []netip.Addr {
	return append(append(buf, r.via...), r.client)
}

func req(line string) *request {
	f := strings.Fields(line)
	r := &request{method: f[0], header: map[string]string{}, cookie: map[string]string{}, client: netip.MustParseAddr("203.0.113.7")}
	url, tls := strings.CutPrefix(f[1], "https://")
	r.tls = tls
	url, r.query, _ = strings.Cut(url, "?")
	at := strings.IndexByte(url, '/')
	if at < 0 {
		at = len(url)
	}
	if r.host, r.path = url[:at], url[at:]; url == "*" {
		r.host, r.path = "a.test", url
	}
	for _, w := range f[2:] {
		k, v, _ := strings.Cut(w, ":")
		switch k {
		case "cookie":
			name, value, _ := strings.Cut(v, "=")
			r.cookie[name] = value
		case "from":
			r.client = netip.MustParseAddr(v)
		case "via":
			r.via = append(r.via, netip.MustParseAddr(v))
		case "secure":
			r.secure = v == "yes"
		default:
			r.header[k] = v
		}
	}
	return r
}

// clock is a clock that stands until it is moved.
type clock struct{ t time.Time }

func newClock() *clock                   { return &clock{time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)} }
func (c *clock) now() time.Time          { return c.t }
func (c *clock) advance(d time.Duration) { c.t = c.t.Add(d) }
func fixed(v uint64) func() uint64       { return func() uint64 { return v } }
func at(i, n int) uint64                 { return uint64(float64(i) / float64(n) * (1 << 64)) } // of n draws spread evenly, the i-th
func upstreams(c *clock) *Upstreams {
	return NewUpstreams(UpstreamsConfig{Now: c.now, Rand: fixed(1 << 63)}) // no jitter
}
