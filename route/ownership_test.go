package route

import (
	"fmt"
	"strings"
	"testing"

	"serin/registry"
)

func TestParseOwnership(t *testing.T) {
	rules, err := ParseOwnership([]byte(` {"rules":[{"services":["web-*","shop"],"claims":["shop.example/","*.shop.example/x"]},{"services":["*"],"claims":["/own","*/"]}]} `))
	if err != nil || fmt.Sprint(rules) != "[{[web-* shop] [shop.example/ *.shop.example/x]} {[*] [/own */]}]" {
		t.Errorf("%v, %v", rules, err)
	}
	if rules, err := ParseOwnership([]byte(`{"rules":[]}`)); err != nil || len(rules) != 0 {
		t.Errorf("no rules: %v, %v", rules, err)
	}
	f := func(text, want string) {
		t.Helper()
		rules, err := ParseOwnership([]byte(text))
		if err == nil || err.Error() != "ownership policy: "+want || rules != nil {
			t.Errorf("%s\n got %v\nwant %s", text, err, want)
		}
	}
	f(``, "at offset 0: the document is not complete")
	f(`{`, "at offset 1: the document is not complete")
	f(`[]`, `at offset 1: the document cannot be array`)
	f(`{}`, `"rules" is missing: write {"rules": []} to allow nothing`)
	f(`{"rules":[]}x`, "at offset 12: nothing may follow the document")
	f(`{"Rules":[]}`, `at offset 8: unknown member "Rules": want rules, services or claims`)
	f(`{"rules":[],"rules":[]}`, `at offset 19: member "rules" is given twice`)
	f(`{"services":[]}`, `unknown field "services"`)
	f(`{"rules":[{"services":["a"],"claims":[1]}]}`, `at offset 39: rules.claims cannot be number`)
	f(`{"rules":[{"claims":["a/"]}]}`, `rules[0]: "services" is missing or empty: name the services that the rule is for, "*" for all`)
	f(`{"rules":[{"services":["a"]}]}`, `rules[0]: "claims" is missing or empty: name what the services may claim, as host/path`)
	f(`{"rules":[{"services":[""],"claims":["a/"]}]}`, `rules[0]: services[0]: "" is not the name of a service`)
	f(`{"rules":[{"services":["a"],"claims":["ok/",""]}]}`, `rules[0]: claims[1]: it is empty: write host/path, or "*/" for every host`)
	f(`{"rules":[{"services":["a"],"claims":["a..b/"]}]}`, `rules[0]: claims[0]: host "a..b": a label has 1 to 63 letters`)
	f(`{"rules":[{"services":["a"],"claims":["a/%zz"]}]}`, `rules[0]: claims[0]: path "/%zz": "%" must be followed by two hexadecimal digits and not encode NUL, CR or LF`)
}

// FuzzParseOwnership: no text panics; what is read can be used, and allows no
// service a host that no rule names.
func FuzzParseOwnership(f *testing.F) {
	f.Add([]byte(`{"rules":[{"services":["web-*"],"claims":["shop.example/","*.shop.example/"]}]}`))
	f.Add([]byte(`{"rules":[{"services":["*"],"claims":["*/","[::1]:80/x","/%41"]}]}`))
	f.Add([]byte(`{"rules":[{"services":["a"],"claims":["a"]},{"services":["a*b*c"],"claims":["/"]}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		rules, err := ParseOwnership(text)
		if err != nil {
			if rules != nil || !strings.HasPrefix(err.Error(), "ownership policy: ") {
				t.Fatalf("%v, %v", rules, err)
			}
			return
		}
		p := newPolicy(&Ownership{Mode: Strict, Rules: rules})
		named := false
		for _, r := range rules {
			for _, c := range r.Claims {
				named = named || strings.HasPrefix(c, "*") || strings.Contains(strings.ToLower(c), "nobody-names-this.test")
			}
		}
		if p.allows("web-1", spotKey{"nobody-names-this.test", "/"}) && !named {
			t.Fatalf("%s allows a host that it does not name", text)
		}
	})
}

func TestStarMatches(t *testing.T) {
	f := func(pattern, name string, want bool) {
		t.Helper()
		if got := starMatches(pattern, name); got != want {
			t.Errorf("%q, %q: %v", pattern, name, got)
		}
	}
	f("web", "web", true)
	f("web", "web-1", false)
	f("web-*", "web-1", true)
	f("web-*", "web-", true)
	f("web-*", "web", false)
	f("*", "", true)
	f("*-v2", "web-v2", true)
	f("*-v2", "v2", false)
	f("a*b*c", "a-b-b-c", true)
	f("a*b*c", "a-c-b", false)
	f("ab*ba", "aba", false)
}

func TestGrantAllows(t *testing.T) {
	f := func(claim, host, key string, want bool) {
		t.Helper()
		g, err := parseGrant(claim)
		if err != nil {
			t.Fatal(err)
		}
		if got := g.allows(spotKey{estateHost(host), key}); got != want {
			t.Errorf("%s allows %s%s: %v", claim, host, key, got)
		}
	}
	f("shop.test/", "shop.test", "/", true)
	f("shop.test", "shop.test:80", "/x", true)
	f("shop.test/", "shop.test:8080", "/", false)
	f("shop.test:8080/", "shop.test:8080", "/", true)
	f("shop.test/", "a.shop.test", "/", false)
	f("shop.test/", "*.shop.test", "/", false)
	f("shop.test/", "sho[p].test", "/", false)
	f("shop.test/", "", "/", false)
	f("*.shop.test/", "a.b.shop.test", "/", true)
	f("*.shop.test/", "*.shop.test", "/", true)
	f("*.shop.test/", "*.a.shop.test", "/", true)
	f("*.shop.test/", "a*.shop.test", "/", true)
	f("*.shop.test/", "*shop.test", "/", false)
	f("*.shop.test/", "*", "/", false)
	f("*.shop.test/", "shop.test", "/", false)
	f("*.shop.test/", "evilshop.test", "/", false)
	f("*/", "any.test", "/", true)
	f("*/", "", "/", true)
	f("/", "", "/x", true)
	f("/", "any.test", "/", false)
	f("a.test/api", "a.test", "/api", true)
	f("a.test/api", "a.test", "/api/v1", true)
	f("a.test/api", "a.test", "/apiary", false)
	f("a.test/api/", "a.test", "/api", false)
	f("a.test/%41", "a.test", "/A", true)
}

// ownersOf builds catalogs one after the other and tells, after each, who owns
// what and what is refused.
func ownersOf(t *testing.T, ownership *Ownership) func(catalog, want string) {
	var b Builder
	return func(catalog, want string) {
		t.Helper()
		_, in := parseCatalog(t, catalog)
		in.Ownership = ownership
		table := b.Build(in)
		var all []string
		for place, owner := range sortedMap(table.Owners()) {
			all = append(all, place+"="+owner)
		}
		for _, p := range table.Problems() {
			all = append(all, "!"+p.Service+" "+strings.TrimPrefix(p.Tag, "urlprefix-"))
		}
		if got := strings.Join(all, "; "); got != want {
			t.Errorf("%s\n got %s\nwant %s", catalog, got, want)
		}
		again := *ownership
		if again.Owners = table.Owners(); again.Owners == nil {
			again.Owners = map[string]string{}
		}
		in.Ownership = &again
		if got, want := printed(t, new(Builder).Build(in)), printed(t, table); got != want {
			t.Errorf("a new process makes another table of it\n got %s\nwant %s", got, want)
		}
	}
}

func TestOwnersChange(t *testing.T) {
	f := ownersOf(t, &Ownership{Mode: FirstOwner})
	f("service b\n 1 created=9 | urlprefix-x/", "x/=b")
	// One that was registered earlier, and claims it only now, is a newcomer.
	f("service a\n 1 created=1 | urlprefix-x/\nservice b\n 1 created=9 | urlprefix-x/", "x/=b; !a x/")
	f("service a\n 1 created=1 | urlprefix-x/ | urlprefix-y/\nservice b\n 1 created=9 | urlprefix-x/ | urlprefix-x/y", "x/=b; x/y=b; y/=a; !a x/")
	f("service a\n 1 created=1 | urlprefix-x/ | urlprefix-x/z\nservice b\n 1 created=9 | urlprefix-x/", "x/=b; !a x/; !a x/z")
	// When the owner leaves, those that waited are next, the oldest first.
	f("service a\n 1 created=3 | urlprefix-x/ | urlprefix-x/z\nservice b\n 1 created=9 | urlprefix-x/\nservice c\n 1 created=2 | urlprefix-x/", "x/=b; !a x/; !a x/z; !c x/")
	f("service a\n 1 created=3 | urlprefix-x/ | urlprefix-x/z\nservice b\n 1 created=9\nservice c\n 1 created=2 | urlprefix-x/", "x/=c; !a x/; !a x/z")
	f("service a\n 1 created=3 | urlprefix-x/ | urlprefix-x/z\nservice b\n 1 created=9 | urlprefix-x/\nservice c\n 1 created=2 | urlprefix-x/", "x/=c; !a x/; !a x/z; !b x/")
	f("service a\n 1 created=3 | urlprefix-x/ | urlprefix-x/z\nservice b\n 1 created=9 | urlprefix-x/", "x/=a; x/z=a; !b x/")
	// Ties go by name; what is older in one build owns.
	f("service e\n 1 created=5 | urlprefix-n/\nservice d\n 1 created=5 | urlprefix-n/", "n/=d; !e n/")
}

func TestOwnersAreHeld(t *testing.T) {
	f := ownersOf(t, &Ownership{Mode: FirstOwner, Hold: true})
	f("service a\n 1 | urlprefix-x/", "x/=a")
	f("", "x/=a")
	f("service b\n 1 | urlprefix-x/y", "x/=a; !b x/y")
	f("service a\n 1 | urlprefix-x/\nservice b\n 1 | urlprefix-x/y", "x/=a; !b x/y")
	f("service a\n 1\nservice b\n 1 | urlprefix-x/y", "x/=a; !b x/y")

	// The caller lets go.
	var b Builder
	_, in := parseCatalog(t, "service a\n 1 | urlprefix-x/")
	in.Ownership = &Ownership{Mode: FirstOwner, Hold: true}
	b.Build(in)
	_, next := parseCatalog(t, "service b\n 1 | urlprefix-x/")
	next.Ownership = in.Ownership
	held := b.Build(next).Held()
	if fmt.Sprint(held) != "map[x/:a]" {
		t.Errorf("held: %v", held)
	}
	next.Ownership = &Ownership{Mode: FirstOwner, Hold: true, Owners: map[string]string{}}
	if table := b.Build(next); fmt.Sprint(table.Owners(), table.Held(), table.Problems()) != "map[x/:b] map[] []" {
		t.Errorf("after the hold: %v, %v, %v", table.Owners(), table.Held(), table.Problems())
	}
}

// An override that changes builds everything anew: nobody becomes an owner by that.
func TestOwnersSurviveARebuild(t *testing.T) {
	var b Builder
	_, in := parseCatalog(t, "service b\n 1 created=9 | urlprefix-x/\nownership first-owner")
	b.Build(in)
	_, both := parseCatalog(t, "service a\n 1 created=1 | urlprefix-x/\nservice b\n 1 created=9 | urlprefix-x/")
	in.Snapshot = both.Snapshot
	for _, what := range []func(){
		func() { in.Overrides = &Overrides{} },
		func() { b.Reset() },
		func() { in.Ownership = &Ownership{Mode: FirstOwner} },
		func() { in.Snapshot = registry.New(in.Snapshot.Service("a"), in.Snapshot.Service("b")) },
	} {
		what()
		if got := fmt.Sprint(b.Build(in).Owners()); got != "map[x/:b]" {
			t.Errorf("owners: %s", got)
		}
	}
}
