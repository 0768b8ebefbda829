package route

import (
	"net/netip"
	"strings"
	"testing"
)

// The access to a route is decided on the path that the route was found by.
// Whatever spells /admin gets to the route of /admin, whose access= lets nobody
// in; what does not is another path, for Serin and for everyone who reads paths
// as RFC 3986 does.
func TestPathsReachOnlyTheirRoute(t *testing.T) {
	admin, open := Rule{Path: "/admin"}, Rule{Path: "/"}
	table := tableOf(admin, open)
	f := func(raw, want string) {
		t.Helper()
		r := table.Match("any.test", raw, false)
		got := "none"
		if r != nil {
			got = r.Path
		}
		if got != want {
			t.Errorf("%q gets to %s, want %s", raw, got, want)
		}
		// What is forwarded has the same reading.
		if r == nil {
			return
		}
		clean, err := CleanPath(raw)
		if again, err2 := CleanPath((&Options{}).Rewrite(raw)); err != nil || err2 != nil || again != clean || strings.HasPrefix(again, "/admin") != (want == "/admin") {
			t.Errorf("%q is %q and forwarded as %q", raw, clean, again)
		}
	}
	for _, raw := range []string{
		"/admin", "/admin/", "/admin/x", "/administrator", "/admin?x"[:6],
		"//admin", "///admin", "/./admin", "/././admin", "/.//admin", "/x/../admin", "/x//../admin", "/x/y/../../admin", "/x/./../admin", "/../admin", "/../../admin", "/x/../../admin",
		"/%61dmin", "/%61%64%6d%69%6e", "/%61%64%6D%69%6E", "/adm%69n/x", "/admin%2f", "/admin%2f..", "/admin%2F..%2Fx", "/admin%5c..", "/admin;x=1", "/admin;/x", "/admin%3bx", "/admin%20", "/admin.", "/admin..", "/admin%2e",
		"/%2e/admin", "/%2E/admin", "/x/%2e%2e/admin", "/x/%2E%2E/admin", "/x/.%2e/admin", "/x/%2e./admin", "/%2e%2e/admin", "/x/..//admin", "/admin/.", "/admin/x/..", "/x/../%61dmin", "/admin%23", "/admin%3f", "/admin%09", "/admin//..//admin",
	} {
		f(raw, "/admin")
	}
	for _, raw := range []string{
		"/", "/x", "/adminx"[:5], "/ADMIN", "/Admin", "/x/admin", "/x/..;/admin", "/admin/..", "/admin/../x", "/admin/%2e%2e/x",
		"/%252e%252e/admin", "/x/%252e%252e/admin", "/%2561dmin", "/%2fadmin", "/..%2fadmin", "/x%2f..%2fadmin", "/x/..%5cadmin", `/x\..\admin`, `/\admin`, "/%5cadmin", "/%c0%ae%c0%ae/admin", "/x/%c0%ae%c0%ae/admin", "/%c1%a1dmin", "/%ef%bc%8fadmin", "/.../admin", "/;/admin", "/%20/admin", "/.%20/admin", "/%admin",
	} {
		f(raw, "/")
	}
	for _, raw := range []string{"admin", "*", "http://x/admin", "/%61dmin%00", "/admin%0d%0a", "/%0aadmin", "/admin\x00", "/\tadmin", "/admin%", "/admin%u0061", "/admin%4"} {
		f(raw, "none")
	}
}

// Access, the match and the path that is forwarded are decided on one and the
// same form of the path.
func TestAccessSeesTheCanonicalPath(t *testing.T) {
	rule, err := ParseTag("", "/%61dmin/ allow=ip:10.0.0.0/8 strip=/admin")
	if err != nil {
		t.Fatal(err)
	}
	inside, outside := []netip.Addr{netip.MustParseAddr("10.0.0.1")}, []netip.Addr{netip.MustParseAddr("192.0.2.1")}
	if !rule.Options.Access.Permits(inside) || rule.Options.Access.Permits(outside) {
		t.Fatal("the rule does not do what it says")
	}
	for _, raw := range []string{"/admin/x", "//admin//x", "/%61dmin/x", "/y/../admin/x"} {
		r := tableOf(Rule{Path: rule.Path}).Match("any.test", raw, false)
		if r == nil || r.Path != "/%61dmin/" {
			t.Errorf("%q: %+v", raw, r)
		}
		if got, err := CleanPath(rule.Options.Rewrite(raw)); err != nil || got != "/x" {
			t.Errorf("%q is forwarded as %q, %v", raw, got, err)
		}
	}
}
