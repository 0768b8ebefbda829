package route

import (
	"strconv"
	"strings"
	"testing"
)

func TestEffect(t *testing.T) {
	f := func(service, catalog, want string) {
		t.Helper()
		e := mustBuild(t, catalog).Effect(service)
		got := strings.Join(append([]string{strings.TrimSpace(strconv.FormatFloat(e.Ratio, 'g', -1, 64) + " " + e.Because)}, e.Warnings...), "\n")
		if got != want {
			t.Errorf("effect for %q of\n%s got %s\nwant %s", service, catalog, got, want)
		}
	}
	const web = "service web\n v1 | urlprefix-/\n v2 | urlprefix-/ | canary\n"
	const critical = "service web\n v1 health=critical | urlprefix-/\n v2 | urlprefix-/ | canary\n"
	const alone = "service web\n v1 | urlprefix-/\n v2 health=critical | urlprefix-/ | canary\n"
	const none = "service web\n v1 health=critical | urlprefix-/\n v2 health=maintenance | urlprefix-/ | canary\n"
	const spare = none + " v3 | urlprefix-/ | spare\n"

	f("web", web, "0")
	f("web", web+"split web ratio=0.5", "0.5")
	f("web", web+"split web ratio=0.5 min=2", "0 health: 1 canary instance ready, limits.min_healthy is 2")
	f("web", web+" v3 | urlprefix-/ | canary\nsplit web ratio=0.5 min=3", "0 health: 2 canary instances ready, limits.min_healthy is 3")
	f("web", alone+"split web ratio=0.5", "0 health: no canary instance is ready")
	f("web", alone+"split web", "0")
	f("web", critical+"split web ratio=0.5", "1 health: no stable instance is ready")
	f("web", critical+"split web", "1 health: no stable instance is ready")
	f("web", critical+"split web ratio=1", "1")
	f("web", none+"split web ratio=0.5", "0 health: no instance is ready")
	f("web", spare+"split web ratio=0.5 backup=tag:spare", "0 health: neither a stable nor a canary instance is ready, the backup takes all")
	f("web", web+"split * ratio=0.5 min=2", "0 health: 1 canary instance ready, limits.min_healthy is 2")
	f("", web+"split * ratio=0.5 min=2", "0.5")
	f("", web, "0")

	// What no instance is meant for.
	const noV9 = "web: the stable arm is empty: no instance of the service has tag \"v9\""
	const noV8 = "web: the canary arm is empty: no instance of the service has tag \"v8\""
	f("web", web+"split web ratio=0.5 stable=tag:v9 canary=tag:v8", "0 health: no instance is ready\n"+noV9+"\n"+noV8)
	f("web", web+"split web stable=tag:v9 canary=tag:v8", "0 health: no instance is ready\n"+noV9)
	f("web", web+"split web ratio=1 stable=tag:v9", "1")
	f("web", web+"split web ratio=0.5 backup=meta:dc:2", "0.5\nweb: the backup arm is empty: no instance of the service has meta dc=\"2\"")
	f("web", web+"split web ratio=0.5 stable=tag:canary", "1 health: no stable instance is ready\n"+
		"web: the stable arm is empty: the instances that have tag \"canary\" have no route tag, or are in another arm")
	f("web", "service web\n v1 | urlprefix-/\n v2 | canary\nsplit web ratio=0.5", "0 health: no canary instance is ready\n"+
		"web: the canary arm is empty: the instances that have tag \"canary\" have no route tag, or are in another arm")
	f("web", alone+"split web ratio=0.5 stable=service:shop", "0 health: no instance is ready\nweb: the stable arm is service \"shop\", which is not in the catalog")
	f("web", web+"service shop\nsplit web ratio=0.5 canary=service:shop", "0 health: no canary instance is ready\n"+
		"web: the canary arm is empty: no instance of service \"shop\" has been registered")

	// One document for all: not all have a canary, but all must have a stable.
	const shop = "service shop\n v1 | urlprefix-/shop\n"
	f("shop", shop+"split * ratio=0.5 backup=tag:spare", "0 health: no canary instance is ready")
	f("", shop+web+"split * ratio=0.5 stable=tag:v9", "0.5\n"+strings.Replace(noV9, "web", "shop", 1)+"\n"+noV9)
	f("", shop+web+"split * ratio=0.5 stable=tag:v9\nsplit shop ratio=0.5 canary=tag:v8", "0.5\n"+noV9)

	// Routes that differ, and none.
	f("web", web+" v3 | urlprefix-/only\nsplit web ratio=0.5", "0.5 1 of 2 routes, /only: health: no canary instance is ready")
	f("web", web+" v3 | urlprefix-/only redirect=301,http://a.test/\nsplit web ratio=0.5", "0.5")
	f("web", "service web\n v3 | urlprefix-/only redirect=301,http://a.test/\nsplit web ratio=0.5",
		"0.5 catalog: the service has no route\nweb: the canary arm is empty: no instance of the service has tag \"canary\"")
	f("web", "split web ratio=0.5", "0.5 catalog: the service has no route")
	f("web", "service web\n v1\nsplit web ratio=0.5", "0.5 catalog: the service has no route")

	if e := (*Table)(nil).Effect("web"); e.Ratio != 0 || e.Because != "" {
		t.Errorf("effect of no table %+v", e)
	}
}

// A warning goes when an instance comes, and comes when it goes.
func TestEffectFollowsTheCatalog(t *testing.T) {
	var b Builder
	for _, tag := range []string{"v8", "v7", "v8"} {
		_, in := parseCatalog(t, "service web\n v1 | urlprefix-/\n v2 | urlprefix-/ | "+tag+"\nsplit web ratio=0.5 canary=tag:v8")
		table := b.Build(in)
		e := table.Effect("web")
		if want := tag != "v8"; (len(e.Warnings) == 1) != want || (len(table.Problems()) == 1) != want {
			t.Errorf("with tag %s: %+v, problems %v", tag, e, table.Problems())
		}
	}
}
