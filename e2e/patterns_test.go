package e2e

import (
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"serin/internal/agent"
)

// pattern is one section of docs/PATTERNS.md on a real Consul: its documents,
// a balancer, and somebody who asks all the while.
type pattern struct {
	*lab
	b         *balancer
	text      string // of the section
	documents []string
	end       func()
}

// newPattern starts a balancer for the section, when setup has registered the
// instances of web.
func newPattern(t *testing.T, section string, setup func(*lab), opts ...string) *pattern {
	t.Helper()
	b, err := os.ReadFile("../docs/PATTERNS.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, ok := strings.Cut(string(b), "\n## "+section+"\n")
	if !ok {
		t.Fatalf("docs/PATTERNS.md has no section %q", section)
	}
	text, _, _ = strings.Cut(text, "\n## ")
	p := &pattern{lab: &lab{t: t, consul: agent.Start(t, agent.Config{}).Addr()}, text: text}
	for _, m := range regexp.MustCompile("(?ms)^```json\n(.*?)^```$").FindAllStringSubmatch(text, -1) {
		p.documents = append(p.documents, m[1])
	}
	if len(p.documents) == 0 {
		t.Fatalf("docs/PATTERNS.md: %q has no document", section)
	}
	setup(p.lab)
	p.kvPut("lb/canary/web", p.documents[0])
	p.b = p.lb(opts...)
	eventually(t, 5*time.Second, "web is routed", func() error { _, err := p.ask(""); return err })
	p.end = steady(t, section, func() error { _, err := p.ask(""); return err })
	return p
}

// put writes the n-th document of the section.
func (p *pattern) put(n int) { p.t.Helper(); p.kvPut("lb/canary/web", p.documents[n]) }

// ask sends a request with header lines like "Cookie: session=1", and returns
// which instance answered.
func (p *pattern) ask(headers ...string) (instance string, err error) {
	req, err := http.NewRequest("GET", "http://"+p.b.traffic+"/", nil)
	if err != nil {
		return "", err
	}
	for _, h := range headers {
		if name, value, ok := strings.Cut(h, ": "); ok {
			req.Header.Set(name, value)
		}
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body := readAll(resp.Body)
	if resp.StatusCode != 200 {
		return "", fmt.Errorf("%s: %s", resp.Status, body)
	}
	return body, nil
}

// sessions asks once for each of 60 sessions, and returns who answered.
func (p *pattern) sessions() (out []string, err error) {
	for i := range 60 {
		id, err := p.ask(fmt.Sprintf("Cookie: session=s%d", i))
		if err != nil {
			return nil, err
		}
		out = append(out, id)
	}
	return out, nil
}

// eachIs waits until every session is answered by what want says of the
// instance that it had before.
func (p *pattern) eachIs(what string, before []string, want func(had string) string) (now []string) {
	p.t.Helper()
	eventually(p.t, 5*time.Second, what, func() (err error) {
		if now, err = p.sessions(); err != nil {
			return err
		}
		for i, id := range now {
			if w := want(before[i]); !strings.HasPrefix(id, w) {
				return fmt.Errorf("session %d, which had %s, is answered by %s, want %s", i, before[i], id, w)
			}
		}
		return nil
	})
	return now
}

func same(had string) string              { return had }
func always(s string) func(string) string { return func(string) string { return s } }

// onNode registers an instance that is called NAME-NODE on a Consul node.
func (l *lab) onNode(name, node, tags string) {
	l.t.Helper()
	id := name + "-" + node
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, id) }))
	l.t.Cleanup(srv.Close)
	_, port, _ := strings.Cut(srv.Listener.Addr().String(), ":")
	l.must("PUT", "/v1/catalog/register", fmt.Sprintf(
		`{"Node":%q,"Address":"127.0.0.1","Service":{"ID":%q,"Service":"web","Address":"127.0.0.1","Port":%s,"Tags":["%s"]},`+
			`"Checks":[{"Node":%q,"CheckID":"service:%s","Name":"web","Status":"passing","ServiceID":%q}]}`,
		node, id, port, strings.ReplaceAll(tags, ",", `","`), node, id, id))
}

// A flip to green and back: each session stays on its node, and has its own
// blue instance again.
func TestBlueGreen(t *testing.T) {
	p := newPattern(t, "Blue and green", func(l *lab) {
		for _, node := range []string{"n1", "n2", "n3"} {
			l.onNode("blue", node, "urlprefix-/")
			l.onNode("green", node, "urlprefix-/,canary")
		}
	})
	blue := p.eachIs("everybody is on blue", make([]string, 60), always("blue-"))
	on := map[string]int{}
	for _, id := range blue {
		on[id]++
	}
	if len(on) != 3 {
		t.Errorf("60 sessions are on %v, want all three nodes", on)
	}
	p.put(1)
	p.eachIs("everybody is on green, on the same node", blue, func(had string) string { return strings.Replace(had, "blue", "green", 1) })
	p.put(0)
	p.eachIs("everybody is back where it was", blue, same)
	p.end()
}

// The backup takes everything when main has no healthy instance; then each
// session goes back to the instance that it had.
func TestMainAndBackupGoesBack(t *testing.T) {
	var mains []*stub
	p := newPattern(t, "Main and backup", func(l *lab) {
		mains = append(mains, l.stub("web", "main-1", "urlprefix-/", "passing"), l.stub("web", "main-2", "urlprefix-/", "passing"))
		l.stub("web", "backup-1", "urlprefix-/,backup", "passing")
	})
	had := p.eachIs("everybody is on main", make([]string, 60), always("main-"))
	mains[0].check("critical")
	p.eachIs("the other main has everybody", had, always("main-2"))
	mains[1].check("critical")
	p.eachIs("the backup has everybody", had, always("backup-1"))
	mains[0].check("passing")
	mains[1].check("passing")
	p.eachIs("everybody is back where it was", had, same)
	p.end()
}

// Where the standby is the canary arm, sessions stay on it after a takeover
// until the document says otherwise.
func TestMainAndBackupStays(t *testing.T) {
	var mains []*stub
	p := newPattern(t, "Main and backup", func(l *lab) {
		mains = append(mains, l.stub("web", "main-1", "urlprefix-/", "passing"), l.stub("web", "main-2", "urlprefix-/", "passing"))
		l.stub("web", "backup-1", "urlprefix-/,backup", "passing")
	})
	p.put(1)
	had := p.eachIs("everybody is on main", make([]string, 60), always("main-"))
	mains[0].check("critical")
	mains[1].check("critical")
	p.eachIs("the standby has everybody", had, always("backup-1"))
	p.put(2)
	eventually(t, 5*time.Second, "the document is applied", func() error { return inForce(p.b, "web", 1) })
	mains[0].check("passing")
	mains[1].check("passing")
	eventually(t, 5*time.Second, "main is ready again", func() error { return ready(p.b, 3) })
	p.eachIs("everybody stays on the standby", had, always("backup-1"))
	p.put(1)
	p.eachIs("everybody is back where it was", had, same)
	p.end()
}

// ready returns nil when so many instances of web get traffic by the table.
func ready(b *balancer, n int) error {
	var routes []struct{ Service string }
	if err := getJSON("http://"+b.admin+"/api/routes", &routes); err != nil {
		return err
	}
	if len(routes) != n {
		return fmt.Errorf("%d instances are in the table, want %d", len(routes), n)
	}
	return nil
}

// inForce returns nil when the document that asks for the ratio is in force.
func inForce(b *balancer, service string, ratio float64) error {
	var all struct {
		Services []struct {
			Service string
			Wanted  float64
		}
	}
	if err := getJSON("http://"+b.admin+"/api/v1/canary", &all); err != nil {
		return err
	}
	for _, s := range all.Services {
		if s.Service == service && s.Wanted == ratio {
			return nil
		}
	}
	return fmt.Errorf("%s does not want %v: %+v", service, ratio, all.Services)
}

// Every instance is drained and restored by the commands of the pattern, one at a
// time; then all of main at once, while the backup has everybody. A drain that
// would leave nobody is refused.
func TestMaintenance(t *testing.T) {
	var mains []*stub
	var backup *stub
	p := newPattern(t, "Maintenance, one instance at a time", func(l *lab) {
		for i := range 3 {
			mains = append(mains, l.stub("web", fmt.Sprintf("main-%d", i+1), "urlprefix-/", "passing"))
		}
		backup = l.stub("web", "backup-1", "urlprefix-/,backup", "passing")
	})
	// lb runs the line of the pattern that begins with a command, for an instance.
	lb := func(command string, s *stub) (out string, code int) {
		t.Helper()
		var line string
		for l := range strings.Lines(p.text) {
			if strings.HasPrefix(l, "lb "+command+" ") {
				line, _, _ = strings.Cut(strings.TrimPrefix(l, "lb "), "   ")
			}
		}
		if !strings.Contains(line, "web/10.0.0.7:8080") {
			t.Fatalf("the pattern has no lb %s of web/10.0.0.7:8080", command)
		}
		line, reason, quoted := strings.Cut(strings.Replace(line, "web/10.0.0.7:8080", "web/"+s.addr, 1), "'")
		args := strings.Fields(line)
		if quoted {
			args = append(args, strings.TrimSuffix(strings.TrimSpace(reason), "'"), "--addr", p.b.admin)
		}
		return p.cli(args...)
	}
	does := func(command string, s *stub) {
		t.Helper()
		if out, code := lb(command, s); code != 0 {
			t.Fatalf("lb %s %s: exit code %d\n%s", command, s.id, code, out)
		}
	}
	refused := func(s *stub, args ...string) {
		t.Helper()
		out, code := p.cli(append([]string{"drain", "web/" + s.addr}, args...)...)
		if code == 0 || !strings.Contains(out, "nothing was changed") {
			t.Errorf("lb drain %s %v: exit code %d\n%s", s.id, args, code, out)
		}
	}
	seen := func(want ...string) error {
		got := map[string]bool{}
		for range 60 {
			id, err := p.ask()
			if err != nil {
				return err
			}
			got[id] = true
		}
		for _, id := range want {
			if !got[id] {
				return fmt.Errorf("%s gets nothing: %v", id, got)
			}
		}
		if len(got) != len(want) {
			return fmt.Errorf("answers from %v, want %v", got, want)
		}
		return nil
	}
	all := []string{"main-1", "main-2", "main-3"}
	eventually(t, 5*time.Second, "all of main", func() error { return seen(all...) })
	for i, s := range mains {
		does("drain", s)
		others := append(append([]string{}, all[:i]...), all[i+1:]...)
		eventually(t, 5*time.Second, s.id+" is drained", func() error { return seen(others...) })
		does("restore", s)
		eventually(t, 15*time.Second, s.id+" is back", func() error { return seen(all...) })
	}
	refused(mains[0], "--floor", "4")
	for _, s := range mains {
		does("drain", s)
	}
	eventually(t, 5*time.Second, "all of main is drained", func() error { return seen("backup-1") })
	refused(backup)
	for _, s := range mains {
		does("restore", s)
	}
	eventually(t, 15*time.Second, "all of main is back", func() error { return seen(all...) })

	// Without a healthy backup the last one of main stays.
	backup.check("critical")
	does("drain", mains[0])
	does("drain", mains[1])
	refused(mains[2])
	eventually(t, 5*time.Second, "the last of main has everybody", func() error { return seen("main-3") })
	p.end()
}

// The share follows the clock from the start of the window to its end, and no
// client goes back.
func TestSlowRoll(t *testing.T) {
	p := newPattern(t, "A slow roll over a time window", func(l *lab) {
		l.stub("web", "v1", "urlprefix-/", "passing")
		l.stub("web", "v2", "urlprefix-/,canary", "passing")
	})
	start := time.Now().UTC().Truncate(time.Second).Add(3 * time.Second)
	end := start.Add(10 * time.Second)
	doc := p.documents[0]
	for old, moment := range map[string]time.Time{"2026-12-01T22:00:00Z": start, "2026-12-02T04:00:00Z": end} {
		if !strings.Contains(doc, old) {
			t.Fatalf("the document does not say %s", old)
		}
		doc = strings.Replace(doc, old, moment.Format(time.RFC3339), 1)
	}
	p.kvPut("lb/canary/web", doc)

	const users = 300
	moved := make([]bool, users)
	var last float64
	for round := 0; ; round++ {
		began := time.Now()
		n := 0
		for i := range users {
			id, err := p.ask(fmt.Sprintf("X-User: u%d", i))
			if err != nil {
				t.Fatal(err)
			}
			if id == "v2" {
				n++
				moved[i] = true
			} else if moved[i] {
				t.Errorf("user %d went back to v1", i)
			}
		}
		share, ended := float64(n)/users, time.Now()
		if last = share; round%5 == 0 {
			t.Logf("FIGURE %s after the start: %.0f %%", began.Sub(start).Round(time.Second), 100*share)
		}
		// What the clock said within the round, quantised to a second and with a second to spare, ± 5 sigma of 300 users.
		at := func(m time.Time) float64 {
			return min(1, max(0, m.Sub(start).Seconds()/end.Sub(start).Seconds()))
		}
		low, high := at(began.Add(-2500*time.Millisecond)), at(ended.Add(500*time.Millisecond))
		slack := 5 * math.Sqrt(0.25/users)
		if share < low-slack || share > high+slack {
			t.Errorf("%s after the start the share is %.2f, want %.2f to %.2f", began.Sub(start), share, low, high)
		}
		if ended.Before(start) && share > 0 {
			t.Errorf("a share of %.2f before the window", share)
		}
		if ended.After(end.Add(2 * time.Second)) {
			break
		}
		<-time.After(100 * time.Millisecond)
	}
	if last != 1 {
		t.Errorf("the share is %.2f after the window", last)
	}
	p.end()
}

// Clients of the internal networks are on the canary before all others.
func TestInternalFirst(t *testing.T) {
	p := newPattern(t, "Internal clients first", func(l *lab) {
		l.stub("web", "v1", "urlprefix-/", "passing")
		l.stub("web", "v2", "urlprefix-/,canary", "passing")
	}, "-proxy.trusted", "127.0.0.0/8")
	count := func(address string) (v2 int, err error) {
		for range 200 {
			id, err := p.ask("X-Forwarded-For: " + address)
			if err != nil {
				return 0, err
			}
			if id == "v2" {
				v2++
			}
		}
		return v2, nil
	}
	are := func(address string, low, high int) error {
		n, err := count(address)
		if err == nil && (n < low || n > high) {
			err = errors.New(fmt.Sprint(n, " of 200 requests from ", address, " are for v2, want ", low, " to ", high))
		}
		return err
	}
	eventually(t, 5*time.Second, "staff is on the canary", func() error { return are("10.1.2.3", 200, 200) })
	for _, c := range []struct {
		address   string
		low, high int
	}{{"fd00::17", 200, 200}, {"192.0.2.1", 0, 0}, {"2001:db8::1", 0, 0}} {
		if err := are(c.address, c.low, c.high); err != nil {
			t.Error(err)
		}
	}
	p.put(1)
	eventually(t, 5*time.Second, "others follow", func() error { return are("192.0.2.1", 1, 60) })
	if err := are("10.1.2.3", 200, 200); err != nil {
		t.Error(err)
	}
	p.end()
}
