package e2e

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"serin/internal/agent"
)

// TestNginx and TestHAProxy hold the example configurations of deploy/nginx and
// deploy/haproxy: a real proxy that routes by what lb daemon says.
func TestNginx(t *testing.T) {
	const lua = "/usr/lib/nginx/modules/ngx_http_lua_module.so"
	bin := needed(t, "nginx")
	if _, err := os.Stat(lua); err != nil {
		lacks(t, "libnginx-mod-http-lua: %v", err)
	}
	testOtherProxy(t, func(o *other) *process {
		site := o.example("nginx/canary.conf", "listen 80;", "listen "+o.addr+";",
			"127.0.0.1:8081", o.v1.addr, "127.0.0.1:8082", o.v2.addr, "/run/lb-daemon/web.sock", o.socket,
			"settimeouts(10, 10, 15)", "settimeouts(200, 200, 200)") // this machine may be busy
		var temp strings.Builder
		for _, module := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
			fmt.Fprintf(&temp, "%s_temp_path %s;\n", module, filepath.Join(o.dir, module))
		}
		conf := o.write("nginx.conf", fmt.Sprintf(`daemon off;
worker_processes 2;
error_log stderr warn;
pid %s;
load_module /usr/lib/nginx/modules/ndk_http_module.so;
load_module %s;
events {}
http {
	access_log off;
	%s
	include %s;
}
`, filepath.Join(o.dir, "pid"), lua, temp.String(), site))
		return start(t, "nginx", nil, bin, "-e", "stderr", "-c", conf)
	})
}

func TestHAProxy(t *testing.T) {
	bin := needed(t, "haproxy")
	testOtherProxy(t, func(o *other) *process {
		script := o.example("haproxy/canary.lua", "/run/lb-daemon/web.sock", o.socket, "timeout = 0.05", "timeout = 0.3")
		conf := o.example("haproxy/haproxy.cfg", "bind :80", "bind "+o.addr, "127.0.0.1:8081", o.v1.addr, "127.0.0.1:8082", o.v2.addr,
			"lua-load /etc/haproxy/canary.lua", "lua-load "+script)
		return start(t, "haproxy", nil, bin, "-db", "-f", conf)
	})
}

// needed returns the path of a program of Debian's, which CI installs.
func needed(t *testing.T, name string) string {
	t.Helper()
	bin, err := exec.LookPath(name)
	for _, dir := range []string{"/usr/sbin", "/usr/local/sbin"} { // not everybody's PATH has them
		if err != nil {
			bin, err = exec.LookPath(filepath.Join(dir, name))
		}
	}
	if err != nil {
		lacks(t, "%v", err)
	}
	return bin
}

// lacks ends a test whose program is not on this machine: in CI it fails.
func lacks(t *testing.T, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format+" (apt-get install nginx-light libnginx-mod-http-lua haproxy)", args...)
}

// other is another proxy, before two versions of web that have no route tag:
// it alone routes them.
type other struct {
	*lab
	dir, socket, addr string
	v1, v2            *instance
	daemon            *process
	clients           []*http.Cookie // of clients that have asked
}

// example writes a file of deploy/ with other words for some of it, each of
// which must be there, and returns where.
func (o *other) example(name string, oldnew ...string) string {
	o.t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "deploy", name))
	if err != nil {
		o.t.Fatal(err)
	}
	for i := 0; i < len(oldnew); i += 2 {
		if !strings.Contains(string(b), oldnew[i]) {
			o.t.Fatalf("deploy/%s does not say %s", name, oldnew[i])
		}
	}
	return o.write(filepath.Base(name), strings.NewReplacer(oldnew...).Replace(string(b)))
}

func (o *other) write(name, text string) string {
	o.t.Helper()
	path := filepath.Join(o.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		o.t.Fatal(err)
	}
	return path
}

// startDaemon starts lb daemon with its defaults, but for what would meet
// another one on this machine.
func (o *other) startDaemon() {
	o.t.Helper()
	admin := fmt.Sprintf("127.0.0.1:%d", agent.FreePort(o.t))
	o.daemon = start(o.t, "lb daemon", nil, lbBin, "daemon", "service=web;addr="+o.socket,
		"-ui.addr", admin, "-registry.consul.addr", o.consul, "-log.level", "debug", "-log.format", "text", "-metrics.target", "prometheus")
	eventually(o.t, 15*time.Second, "lb daemon ready", func() error { return status("http://"+admin+"/ready", 200) })
}

// get sends a request with a cookie, or nil, and returns which version answered
// and the cookie that was set, or nil.
func (o *other) get(cookie *http.Cookie) (version string, set *http.Cookie, err error) {
	req, err := http.NewRequest("GET", "http://"+o.addr+"/", nil)
	if err != nil {
		return "", nil, err
	}
	if cookie != nil {
		req.AddCookie(cookie)
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", nil, err
	}
	defer resp.Body.Close()
	var body struct{ Version string }
	if resp.StatusCode != 200 {
		return "", nil, fmt.Errorf("%s: %s", resp.Status, readAll(resp.Body))
	}
	if err := json.NewDecoder(resp.Body).Decode(&body); err != nil {
		return "", nil, err
	}
	for _, c := range resp.Cookies() {
		if c.Name == "canary" {
			set = c
		}
	}
	if set != nil && resp.Header.Get("Cache-Control") != "no-store" {
		return "", nil, fmt.Errorf("an assignment is given in a response that caches may keep: Cache-Control %q", resp.Header.Get("Cache-Control"))
	}
	return body.Version, set, nil
}

// divided returns nil when every client goes where its assignment sends it at
// the ratio, and none is given another.
func (o *other) divided(ratio float64) error {
	for _, c := range o.clients {
		at, err := strconv.ParseFloat(c.Value, 64)
		if err != nil {
			return fmt.Errorf("assignment %q: %w", c.Value, err)
		}
		want := "v1"
		if at < ratio {
			want = "v2"
		}
		got, set, err := o.get(c)
		if err != nil {
			return err
		}
		if got != want || set != nil {
			return fmt.Errorf("%s goes to %s (cookie %v), want %s at %v", c.Value, got, set, want, ratio)
		}
	}
	return nil
}

func testOtherProxy(t *testing.T, proxy func(*other) *process) {
	a := agent.Start(t, agent.Config{Persistent: true})
	dir, err := os.MkdirTemp("", "serin-other")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil { // the proxy's workers may be another user's
		t.Fatal(err)
	}
	o := &other{
		lab: &lab{t: t, consul: a.Addr()}, dir: dir,
		socket: filepath.Join(dir, "web.sock"), addr: fmt.Sprintf("127.0.0.1:%d", agent.FreePort(t)),
	}
	o.v1, o.v2 = o.demo("web", "v1", ""), o.demo("web", "v2", "canary")
	o.kvPut("lb/canary/web", `{"ratio": 0.2}`)
	o.startDaemon()
	p := proxy(o)
	t.Cleanup(func() { p.stop(t, 10*time.Second) }) // with its workers
	eventually(t, 10*time.Second, "the proxy answers", func() error { _, _, err := o.get(nil); return err })

	// Somebody without a cookie asks all the while; no request may fail.
	end := steady(t, p.name, func() error { _, _, err := o.get(nil); return err })

	// New clients are divided by chance, and get a cookie.
	const clients = 200
	canary := 0
	for range clients {
		version, set, err := o.get(nil)
		if err != nil || set == nil {
			t.Fatalf("a client without a cookie: %s, cookie %v, %v", version, set, err)
		}
		if version == "v2" {
			canary++
		}
		o.clients = append(o.clients, &http.Cookie{Name: set.Name, Value: set.Value})
	}
	if sd := math.Sqrt(clients * 0.2 * 0.8); math.Abs(float64(canary)-clients*0.2) > 5*sd {
		t.Errorf("%d of %d new clients go to the canary at 20 %%", canary, clients)
	}
	for _, broken := range []string{"1", "NaN", "0x1p-2", "nonsense", strings.Repeat("0", 400)} {
		if _, set, err := o.get(&http.Cookie{Name: "canary", Value: broken}); err != nil || set == nil {
			t.Errorf("a client with the cookie %q: %v, %v, want another cookie", broken, set, err)
		}
	}

	// The same cookie keeps its arm, moves to the canary once as the share grows,
	// and back as it falls.
	if err := o.divided(0.2); err != nil {
		t.Error(err)
	}
	for _, ratio := range []float64{0.5, 0.9, 1, 0, 0.6} {
		o.kvPut("lb/canary/web", fmt.Sprintf(`{"ratio": %v}`, ratio))
		took := eventually(t, 3*time.Second, fmt.Sprintf("a share of %v counts", ratio), func() error { return o.divided(ratio) })
		t.Logf("FIGURE %s: a share of %v counts for all %d clients after %s", p.name, ratio, clients, took.Round(time.Millisecond))
	}

	// Consul is lost: the share stays for stale_after, 8 s, and is 0 then.
	a.Kill()
	if err := o.divided(0.6); err != nil {
		t.Errorf("just after Consul was killed: %v", err)
	}
	took := eventually(t, 20*time.Second, "all go to master without Consul", func() error { return o.divided(0) })
	t.Logf("FIGURE %s: master for everybody %s after Consul was killed", p.name, took.Round(100*time.Millisecond))
	if took < 5*time.Second {
		t.Errorf("master for everybody %s after Consul was killed, want stale_after, 8 s", took)
	}
	a.Restart(false)
	eventually(t, 15*time.Second, "the share is back with Consul", func() error { return o.divided(0.6) })

	// The daemon is killed: master at once. Another one takes the place of its socket.
	o.daemon.signal(syscall.SIGKILL)
	<-o.daemon.done
	if err := o.divided(0); err != nil {
		t.Errorf("without lb daemon: %v", err)
	}
	o.startDaemon()
	eventually(t, 3*time.Second, "another lb daemon is asked", func() error { return o.divided(0.6) })

	// The daemon hangs: master, after a time-out that clients hardly notice.
	o.daemon.signal(syscall.SIGSTOP)
	began := time.Now()
	if version, _, err := o.get(o.clients[0]); err != nil || version != "v1" || time.Since(began) > 5*time.Second {
		t.Errorf("while lb daemon hangs: %s, %v, after %s", version, err, time.Since(began))
	}
	o.daemon.signal(syscall.SIGCONT)
	eventually(t, 3*time.Second, "lb daemon is asked again", func() error { return o.divided(0.6) })

	// The canary ends: the other version stands in.
	o.v2.stop(t, 10*time.Second)
	eventually(t, 5*time.Second, "stable stands in", func() error { return o.divided(0) })
	end()
	if code := o.daemon.stop(t, 5*time.Second); code != 0 {
		t.Errorf("lb daemon ended with %d", code)
	}
	if _, err := os.Lstat(o.socket); err == nil {
		t.Error("the socket is left behind")
	}
}
