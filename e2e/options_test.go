package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"serin/internal/agent"
	"serin/route"
)

// seen is what an instance was asked.
type seen struct {
	Instance, Method, URI, Host string
	Header                      http.Header
}

// echo registers an instance that answers with what it was asked, as JSON in
// the body, and with the status that the header X-Want-Status names.
func (l *lab) echo(service, id string, tags []string, meta map[string]string, tls bool) *stub {
	l.t.Helper()
	s := &stub{l: l, id: id}
	s.srv = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if d, err := time.ParseDuration(r.URL.Query().Get("wait")); err == nil {
			select {
			case <-time.After(d):
			case <-r.Context().Done():
				return
			}
		}
		w.Header().Set("X-From-Instance", id)
		w.Header().Set("X-Secret", "inner")
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(seen{id, r.Method, r.RequestURI, r.Host, r.Header})
	}))
	if tls {
		s.srv.StartTLS()
	} else {
		s.srv.Start()
	}
	l.t.Cleanup(s.srv.Close)
	s.addr = s.srv.Listener.Addr().String()
	host, port, _ := strings.Cut(s.addr, ":")
	body, err := json.Marshal(map[string]any{
		"ID": id, "Name": service, "Address": host, "Port": json.Number(port), "Tags": tags, "Meta": meta,
		"Check": map[string]any{"TTL": "1h", "Status": "passing"},
	})
	if err != nil {
		l.t.Fatal(err)
	}
	l.must("PUT", "/v1/agent/service/register", string(body))
	return s
}

// do sends a request through the balancer; the body is what an echo instance
// was asked, where one was.
func (b *balancer) do(method, host, uri string, header map[string]string) (*http.Response, seen, error) {
	req, err := http.NewRequest(method, "http://"+b.traffic+uri, nil)
	if err != nil {
		return nil, seen{}, err
	}
	req.Host = host
	for k, v := range header {
		req.Header.Set(k, v)
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, seen{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	var s seen
	_ = json.Unmarshal(body, &s)
	return resp, s, err
}

// expect is what is expected of one request; what is empty is not looked at.
type expect struct {
	status   int
	uri      string // that the instance was asked for
	host     string // that the instance was sent
	location string
	header   map[string]string // of the request at the instance; "" is absent
	answer   map[string]string // of the response; "" is absent
}

func (w expect) differs(resp *http.Response, s seen) error {
	if resp.StatusCode != w.status {
		return fmt.Errorf("status %d, want %d", resp.StatusCode, w.status)
	}
	for _, c := range []struct{ what, got, want string }{
		{"uri", s.URI, w.uri}, {"host", s.Host, w.host}, {"Location", resp.Header.Get("Location"), w.location},
	} {
		if c.want != "" && c.got != c.want {
			return fmt.Errorf("%s %q, want %q", c.what, c.got, c.want)
		}
	}
	for k, v := range w.header {
		if got := s.Header.Get(k); got != v {
			return fmt.Errorf("the instance got %s: %q, want %q", k, got, v)
		}
	}
	for k, v := range w.answer {
		if got := resp.Header.Get(k); got != v {
			return fmt.Errorf("the client got %s: %q, want %q", k, got, v)
		}
	}
	return nil
}

// probe is one request and what is expected of it.
type probe struct {
	method, host, uri string // GET, the case's own host, /
	header            map[string]string
	want              expect
}

// optionCases show every option of the grammar on real traffic. Each case has
// a host of its own, HOST in its tags.
var optionCases = []struct {
	option string // the option that the case is about
	tags   []string
	meta   map[string]string
	tls    bool
	probes []probe
}{
	{option: "strip", tags: []string{"HOST/api strip=/api"}, probes: []probe{
		{uri: "/api/users?q=1", want: expect{status: 200, uri: "/users?q=1", header: map[string]string{"X-Forwarded-Prefix": "/api"}}},
	}},
	{option: "prepend", tags: []string{"HOST/api strip=/api prepend=/v2"}, probes: []probe{
		{uri: "/api/users", want: expect{status: 200, uri: "/v2/users"}},
	}},
	{option: "host", tags: []string{"HOST/ host=inner.example"}, probes: []probe{
		{want: expect{status: 200, host: "inner.example"}},
	}},
	{option: "proto", tags: []string{"HOST/ proto=https tlsskipverify=true"}, tls: true, probes: []probe{
		{uri: "/over-tls", want: expect{status: 200, uri: "/over-tls"}},
	}},
	{option: "tlsskipverify", tags: []string{"HOST/ proto=https tlsskipverify=false"}, tls: true, probes: []probe{
		{want: expect{status: 502}},
	}},
	{option: "redirect", tags: []string{"HOST/old redirect=301,https://new.example$path", "HOST/same redirect=308,http://$host/other"}, probes: []probe{
		{uri: "/old/x?q=1", want: expect{status: 301, location: "https://new.example/old/x?q=1"}},
		{uri: "/same", want: expect{status: 308, location: "http://HOST/other"}},
	}},
	{option: "allow", tags: []string{"HOST/ allow=ip:127.0.0.0/8", "HOST/none allow=ip:203.0.113.0/24", "HOST/broken allow=ip:nonsense"}, probes: []probe{
		{want: expect{status: 200}},
		{uri: "/none", want: expect{status: 403}},
		{uri: "//none", want: expect{status: 403}},
		{uri: "/x/../none", want: expect{status: 403}},
		{uri: "/%6eone", want: expect{status: 403}},
		{uri: "/broken", want: expect{status: 403}},
	}},
	{option: "deny", tags: []string{"HOST/ deny=ip:203.0.113.0/24", "HOST/local deny=ip:127.0.0.1"}, probes: []probe{
		{want: expect{status: 200}},
		{uri: "/local", want: expect{status: 403}},
		{header: map[string]string{"X-Forwarded-For": "203.0.113.9"}, want: expect{status: 403}}, // 127.0.0.1 is trusted
		{header: map[string]string{"X-Forwarded-For": "203.0.113.9, 127.0.0.1"}, want: expect{status: 403}},
		{header: map[string]string{"X-Forwarded-For": "198.51.100.1"}, want: expect{status: 200}},
	}},
	{option: "auth", tags: []string{"HOST/ auth=staff", "HOST/unknown auth=nobody"}, probes: []probe{
		{want: expect{status: 401, answer: map[string]string{"Www-Authenticate": `Basic realm="Staff", charset="UTF-8"`}}},
		{header: map[string]string{"Authorization": "Basic YW5uYTpzZWNyZXQ="}, want: expect{status: 200}},
		{header: map[string]string{"Authorization": "Basic YW5uYTp3cm9uZw=="}, want: expect{status: 401}},
		{uri: "/unknown", header: map[string]string{"Authorization": "Basic YW5uYTpzZWNyZXQ="}, want: expect{status: 401}},
	}},
	{option: "timeout", tags: []string{"HOST/ timeout=300ms retries=0"}, probes: []probe{
		{uri: "/?wait=10ms", want: expect{status: 200}},
		{uri: "/?wait=4s", want: expect{status: 504}},
	}},
	{option: "ratelimit", tags: []string{"HOST/ ratelimit=1/m,2"}, probes: []probe{
		{want: expect{status: 200}},
		{want: expect{status: 200}},
		{want: expect{status: 429}},
	}},
	{option: "reqheader.set", tags: []string{"HOST/ reqheader.set=X-Env:blue%20green"}, probes: []probe{
		{header: map[string]string{"X-Env": "mine"}, want: expect{status: 200, header: map[string]string{"X-Env": "blue green"}}},
	}},
	{option: "reqheader.add", tags: []string{"HOST/ reqheader.add=X-Team:a"}, probes: []probe{
		{want: expect{status: 200, header: map[string]string{"X-Team": "a"}}},
	}},
	{option: "reqheader.remove", tags: []string{"HOST/ reqheader.remove=X-Debug"}, probes: []probe{
		{header: map[string]string{"X-Debug": "1"}, want: expect{status: 200, header: map[string]string{"X-Debug": ""}}},
	}},
	{option: "respheader.set", tags: []string{"HOST/ respheader.set=X-From-Instance:hidden"}, probes: []probe{
		{want: expect{status: 200, answer: map[string]string{"X-From-Instance": "hidden"}}},
	}},
	{option: "respheader.add", tags: []string{"HOST/ respheader.add=X-More:1"}, probes: []probe{
		{want: expect{status: 200, answer: map[string]string{"X-More": "1"}}},
	}},
	{option: "respheader.remove", tags: []string{"HOST/ respheader.remove=X-Secret"}, probes: []probe{
		{want: expect{status: 200, answer: map[string]string{"X-Secret": ""}}},
	}},
	{option: "rewrite", tags: []string{"HOST/ rewrite=^/u/([0-9]+)$,/users/$1"}, probes: []probe{
		{uri: "/u/42?x=1", want: expect{status: 200, uri: "/users/42?x=1"}},
		{uri: "/other", want: expect{status: 200, uri: "/other"}},
	}},
	{option: "methods", tags: []string{"HOST/ methods=GET,HEAD"}, probes: []probe{
		{want: expect{status: 200}},
		{method: "POST", want: expect{status: 404}},
	}},
	{option: "header", tags: []string{"HOST/ header=X-Beta:~^y", "HOST/ strip=/plain"}, probes: []probe{
		{uri: "/plain/x", header: map[string]string{"X-Beta": "yes"}, want: expect{status: 200, uri: "/plain/x"}},
		{uri: "/plain/x", want: expect{status: 200, uri: "/x"}},
	}},
	{option: "query", tags: []string{"HOST/ query=v:2* host=second.example", "HOST/ host=first.example"}, probes: []probe{
		{uri: "/?v=2.1", want: expect{status: 200, host: "second.example"}},
		{uri: "/?v=1", want: expect{status: 200, host: "first.example"}},
	}},
	{option: "priority", tags: []string{"HOST/ priority=10 host=front.example", "HOST/longer host=longer.example"}, probes: []probe{
		{uri: "/longer/x", want: expect{status: 200, host: "front.example"}},
	}},
	{option: "weight", tags: []string{"HOST/ weight=1", "HOST/none weight=0"}, probes: []probe{
		{want: expect{status: 200}},
		{uri: "/none", want: expect{status: 503, answer: map[string]string{"Retry-After": "1"}}},
	}},
	{option: "lb- meta keys", tags: []string{"HOST/"}, meta: map[string]string{"lb-reqheader-set": "X-Meta: from meta", "lb-prepend": "/m"}, probes: []probe{
		{uri: "/x", want: expect{status: 200, uri: "/m/x", header: map[string]string{"X-Meta": "from meta"}}},
	}},
	{option: "globs in hosts", tags: []string{"web-[ab].HOST/"}, probes: []probe{
		{host: "web-a.HOST", want: expect{status: 200}},
		{host: "WEB-B.HOST.", want: expect{status: 200}},
		{host: "web-c.HOST", want: expect{status: 404}},
	}},
	{option: "$DC", tags: []string{"$DC.HOST/${DC}"}, probes: []probe{
		{host: "dc1.HOST", uri: "/dc1/x", want: expect{status: 200}},
	}},
	{option: "wildcards, ports, case", tags: []string{"*.HOST/", "HOST:80/eighty", "HOST:8443/other"}, probes: []probe{
		{host: "a.b.HOST", want: expect{status: 200}},
		{host: "A.HOST.", want: expect{status: 200}},
		{uri: "/eighty", want: expect{status: 200}},
		{host: "HOST:8443", uri: "/other", want: expect{status: 200}},
		{host: "HOST:8444", uri: "/other", want: expect{status: 404}},
		{uri: "/other", want: expect{status: 404}},
	}},
}

// Every option of a tag does on real traffic what the reference says of it.
func TestEveryTagOption(t *testing.T) {
	l := &lab{t: t, consul: agent.Start(t, agent.Config{}).Addr()}
	htpasswd := filepath.Join(t.TempDir(), "htpasswd")
	// htpasswd -bnB anna secret
	if err := os.WriteFile(htpasswd, []byte("anna:$2a$04$0NQ5htTuKcUvbXjmDlvjNedF7gBW2nmBHcPyCUT0L6LBqbL.lz7a2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	b := l.lb("-proxy.auth", "name=staff;type=basic;file="+htpasswd+";realm=Staff", "-proxy.trusted", "127.0.0.1", "-proxy.tlsskipverify")
	host := func(i int) string { return fmt.Sprintf("o%d.test", i) }
	for i, c := range optionCases {
		var tags []string
		for _, tag := range c.tags {
			tags = append(tags, "urlprefix-"+strings.ReplaceAll(tag, "HOST", host(i)))
		}
		l.echo(fmt.Sprintf("option-%d", i), fmt.Sprintf("option-%d-1", i), tags, c.meta, c.tls)
	}
	for i, c := range optionCases {
		for n, p := range c.probes {
			p.host = strings.ReplaceAll(orElse(p.host, "HOST"), "HOST", host(i))
			p.want.location = strings.ReplaceAll(p.want.location, "HOST", host(i))
			check := func() error {
				resp, s, err := b.do(orElse(p.method, "GET"), p.host, orElse(p.uri, "/"), p.header)
				if err != nil {
					return err
				}
				return p.want.differs(resp, s)
			}
			what := fmt.Sprintf("%s: %v: request %d for %s%s", c.option, c.tags, n+1, p.host, p.uri)
			if n == 0 { // the routes of the case may still be on their way
				eventually(t, 10*time.Second, what, check)
			} else if err := check(); err != nil {
				t.Errorf("%s: %v", what, err)
			}
		}
	}
	shown := make(map[string]bool)
	for _, c := range optionCases {
		shown[c.option] = true
	}
	// Shown by TestStrategyOfARoute, TestRetriesOfARoute and TestMaxConnOfARoute.
	for _, elsewhere := range []string{"strategy", "retries", "maxconn"} {
		shown[elsewhere] = true
	}
	// They are parsed and named as what is not carried.
	for _, later := range []string{"grpcservername", "pxyproto", "register"} {
		shown[later] = true
	}
	for usage := range route.TagOptions {
		if name, _, _ := strings.Cut(usage, "="); !shown[name] {
			t.Errorf("option %s is shown by no case", name)
		}
	}
}

// What is parsed but not carried yet says so, in the problems and in lb routes.
func TestOptionsWithoutTraffic(t *testing.T) {
	l := &lab{t: t, consul: agent.Start(t, agent.Config{}).Addr()}
	b := l.lb()
	tags := map[string]string{
		"tcp":            "urlprefix-:7000 proto=tcp",
		"grpc":           "urlprefix-grpc.test/ proto=grpc",
		"grpcs":          "urlprefix-grpcs.test/ proto=grpcs grpcservername=inner",
		"pxyproto":       "urlprefix-:7001 proto=tcp pxyproto=true",
		"register":       "urlprefix-register.test/ register=alias",
		"grpcservername": "urlprefix-name.test/ proto=grpcs grpcservername=inner",
	}
	for _, name := range slices.Sorted(maps.Keys(tags)) {
		l.echo(name, name+"-1", []string{tags[name]}, nil, false)
	}
	l.echo("plain", "plain-1", []string{"urlprefix-plain.test/"}, nil, false)
	eventually(t, 10*time.Second, "the plain route", func() error {
		resp, _, err := b.do("GET", "plain.test", "/", nil)
		if err == nil && resp.StatusCode != 200 {
			err = fmt.Errorf("%s", resp.Status)
		}
		return err
	})
	eventually(t, 10*time.Second, "a problem for each", func() error {
		var problems []route.Problem
		if err := getJSON("http://"+b.admin+"/api/v1/problems", &problems); err != nil {
			return err
		}
		for name := range tags {
			if !slices.ContainsFunc(problems, func(p route.Problem) bool { return p.Service == name && strings.Contains(p.Error, "not carried") }) {
				return fmt.Errorf("%s: none among %+v", name, problems)
			}
		}
		return nil
	})
	out, _ := l.cli("routes", "--addr", b.admin)
	for name := range tags {
		if !strings.Contains(out, "route add "+name+" ") {
			t.Errorf("lb routes lacks %s:\n%s", name, out)
		}
	}
	if !strings.Contains(out, "not carried") {
		t.Errorf("lb routes does not say what is not carried:\n%s", out)
	}
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}
