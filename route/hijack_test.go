package route

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"serin/registry"
)

// TestNobodyTakesWhatIsOwned: whatever a second service registers, in the mode
// FirstOwner no request that the first one gets, by a host that it names, goes
// to the second.
func TestNobodyTakesWhatIsOwned(t *testing.T) {
	for m, name := range []string{"prefix", "iprefix", "glob"} {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) { testHijack(t, Matcher(m)) })
		})
	}
}

func testHijack(t *rapid.T, m Matcher) {
	tag := rapid.Custom(func(t *rapid.T) string {
		path := drawn.prefix
		if m == GlobMatcher {
			path = drawn.pattern
		}
		return "urlprefix-" + drawn.host.Draw(t, "host") + path.Draw(t, "path") +
			rapid.SampledFrom([]string{"", "", "", " priority=1", " priority=-1", " methods=GET", " header=X-A:1"}).Draw(t, "options")
	})
	service := func(name string, created uint64, tags []string) *registry.Service {
		return &registry.Service{Name: name, Instances: []registry.Instance{{
			Service: name, ID: name, Node: "n", Addr: "10.0.0.1:80", Tags: tags, Weight: 1, Health: registry.Passing, Ready: true, Created: created,
		}}}
	}
	owner := service("owner", 10, rapid.SliceOfN(tag, 1, 4).Draw(t, "owner"))
	intruder := service("intruder", 20, rapid.SliceOfN(tag, 1, 4).Draw(t, "intruder"))
	build := func(services ...*registry.Service) *Table {
		b := Builder{Matcher: m}
		return b.Build(Inputs{Snapshot: registry.New(services...), Ownership: &Ownership{Mode: FirstOwner}})
	}
	alone, both := build(owner), build(owner, intruder)
	for range 60 {
		host := drawn.name.Draw(t, "name") + drawn.port.Draw(t, "port")
		if rapid.Bool().Draw(t, "from tag") {
			tags := append(owner.Instances[0].Tags, intruder.Instances[0].Tags...)
			host = strings.TrimPrefix(rapid.SampledFrom(tags).Draw(t, "tag"), "urlprefix-")
			host, _, _ = strings.Cut(host, "/")
			host = strings.NewReplacer("*", "a", "?", "b", "[ab]", "a", "[!a]", "b", "{a,b}", "b", "{a.*,?.b}", "a.b").Replace(host)
		}
		path, tls := drawn.path.Draw(t, "path"), rapid.Bool().Draw(t, "tls")
		if !tls && strings.HasSuffix(host, ":443") || tls && strings.HasSuffix(host, ":80") {
			continue // no browser asks so; "*:443" is a suffix then, and everybody's
		}
		request := askedFor{rapid.SampledFrom([]string{"GET", "POST"}).Draw(t, "method"), "", rapid.SampledFrom([]string{"", "1"}).Draw(t, "header")}
		before := alone.Search(host, path, tls, request)
		had := before.Next()
		if had == nil || estateHost(had.Host) == "" {
			continue
		}
		after := both.Search(host, path, tls, request)
		if has := after.Next(); has == nil || has.Parts[0].Service != "owner" || len(has.Parts) > 1 {
			t.Fatalf("%s%s is %s%s of the owner, and goes to %+v", host, path, had.Host, had.Path, names([]*Route{has}))
		}
	}
}
