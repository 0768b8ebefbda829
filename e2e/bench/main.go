// Command bench measures what one proxied request costs in CPU time, beside
// nginx and HAProxy: `make bench`. It prints the table of docs/BENCHMARKS.md.
//
// Method: the proxy alone on one core, the origin (nginx) and the clients (wrk)
// on the other; keep-alive on both sides; contenders interleaved, their order
// turned every round, medians of the rounds. CPU time is utime + stime of the
// proxy's processes (/proc/PID/stat) over the requests of the round.
package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"serin/internal/devconsul"
)

var (
	rounds   = flag.Int("rounds", 5, "rounds per figure")
	duration = flag.Duration("duration", 3*time.Second, "length of a round")
	conns    = flag.String("connections", "1,8,64,512", "client connections")
	lb       = flag.String("lb", "bin/lb", "the balancer's binary")
	bodies   = flag.String("bodies", "130,65536", "response sizes in bytes")
	only     = flag.String("only", "", "proxies or hosts: only that table")
)

const originCore, proxyCore = "0", "1"

type contender struct {
	name string
	addr string
	pids []int
}

func main() {
	flag.Parse()
	log.SetFlags(0)
	if err := run(context.Background()); err != nil {
		log.Fatalf("bench: %v", err)
	}
}

func run(ctx context.Context) (err error) {
	for _, tool := range []string{"nginx", "haproxy", "wrk", "taskset"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("%s is missing: apt-get install nginx-light haproxy wrk util-linux", tool)
		}
	}
	dir, err := os.MkdirTemp("", "serin-bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	// nginx's worker is another user when its master is root.
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()

	sizes := strings.Split(*bodies, ",")
	for _, s := range sizes {
		n, err := strconv.Atoi(s)
		if err != nil {
			return fmt.Errorf("-bodies %q: %w", s, err)
		}
		if err := os.WriteFile(filepath.Join(dir, s), make([]byte, n), 0o644); err != nil {
			return err
		}
	}

	origin := free()
	if _, err := spawn(ctx, originCore, dir, "nginx", "-p", dir, "-c", write(dir, "origin.conf", nginxConf("origin", fmt.Sprintf(`
		server { listen %s reuseport; root %s; keepalive_requests 100000000; location / { } }`, origin, dir)))); err != nil {
		return err
	}
	if *only != "proxies" {
		defer func() {
			if err == nil {
				err = hosts(ctx, dir, origin, sizes[0])
			}
		}()
	}
	if *only == "hosts" {
		return nil
	}
	var all []contender
	add := func(name, addr string, args ...string) error {
		pid, err := spawn(ctx, proxyCore, dir, args...)
		if err != nil {
			return err
		}
		if err := answers(addr, sizes[0]); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		all = append(all, contender{name, addr, family(pid)})
		return nil
	}

	a := free()
	if err := add("nginx "+version("nginx", "-v"), a, "nginx", "-p", dir, "-c", write(dir, "nginx.conf", nginxConf("nginx", fmt.Sprintf(`
		upstream o { server %s; keepalive 600; keepalive_requests 100000000; }
		server { listen %s; keepalive_requests 100000000; location / { proxy_pass http://o; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header X-Forwarded-For $remote_addr; } }`, origin, a)))); err != nil {
		return err
	}
	a = free()
	if err := add("HAProxy "+version("haproxy", "-v"), a, "haproxy", "-db", "-f", write(dir, "haproxy.cfg", fmt.Sprintf(`
global
	nbthread 1
	maxconn 4000
defaults
	mode http
	option forwardfor
	http-reuse always
	timeout connect 1s
	timeout client 30s
	timeout server 30s
frontend f
	bind %s
	default_backend b
backend b
	server o %s
`, a, origin))); err != nil {
		return err
	}

	consul, err := catalog(ctx, origin)
	if err != nil {
		return err
	}
	a = free()
	if err := add("Serin", a, *lb, "run", "-proxy.addr", a, "-ui.addr", free(), "-registry.consul.addr", consul, "-log.level", "error"); err != nil {
		return err
	}

	fmt.Printf("CPU time of the proxy per request, median of %d rounds of %s; ratio to the cheapest of nginx and HAProxy.\n\n", *rounds, *duration)
	fmt.Printf("| body | connections |")
	for _, c := range all {
		fmt.Printf(" %s |", c.name)
	}
	fmt.Printf(" Serin / best |\n|---|---|%s---|\n", strings.Repeat("---|", len(all)))
	for _, size := range sizes {
		for _, n := range strings.Split(*conns, ",") {
			if err := figure(all, size, n); err != nil {
				return err
			}
		}
	}
	return nil
}

// figure measures and prints one row.
func figure(all []contender, size, conns string) error {
	cost := make([][]float64, len(all))
	rate := make([][]float64, len(all))
	for round := range *rounds + 1 {
		for i := range all {
			i := (i + round) % len(all)
			c, r, err := measure(all[i], size, conns)
			if err != nil {
				return fmt.Errorf("%s: %w", all[i].name, err)
			}
			if round > 0 { // the first one warms up
				cost[i], rate[i] = append(cost[i], c), append(rate[i], r)
			}
		}
	}
	fmt.Printf("| %s B | %s |", size, conns)
	best := 1e18
	for i, c := range all {
		fmt.Printf(" %.1f µs, %.1f k/s |", median(cost[i]), median(rate[i])/1000)
		if c.name != "Serin" {
			best = min(best, median(cost[i]))
		}
	}
	fmt.Printf(" %.2f |\n", median(cost[len(cost)-1])/best)
	return nil
}

// measure runs one round and returns µs of CPU per request and requests per second.
func measure(c contender, size, conns string) (cost, rate float64, err error) {
	before := cpu(c.pids)
	out, err := exec.Command("taskset", "-c", originCore, "wrk", "-t1", "-c"+conns, "-d", duration.String(), "http://"+c.addr+"/"+size).CombinedOutput()
	if err != nil {
		return 0, 0, fmt.Errorf("wrk: %w: %s", err, out)
	}
	used := cpu(c.pids) - before
	m := regexp.MustCompile(`(\d+) requests in`).FindSubmatch(out)
	if m == nil || strings.Contains(string(out), "Non-2xx") {
		return 0, 0, fmt.Errorf("wrk saw wrong answers:\n%s", out)
	}
	n, _ := strconv.ParseFloat(string(m[1]), 64)
	return used.Seconds() * 1e6 / n, n / duration.Seconds(), nil
}

// cpu is user and system time of the processes; a tick of /proc is 10 ms
// (sysconf(_SC_CLK_TCK) is 100 on every Linux that Go runs on).
func cpu(pids []int) (sum time.Duration) {
	for _, pid := range pids {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue
		}
		f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
		u, _ := strconv.ParseInt(f[11], 10, 64)
		s, _ := strconv.ParseInt(f[12], 10, 64)
		sum += time.Duration(u+s) * 10 * time.Millisecond
	}
	return sum
}

// family is a process and its children (nginx has workers).
func family(pid int) []int {
	pids := []int{pid}
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	for _, f := range strings.Fields(string(b)) {
		child, _ := strconv.Atoi(f)
		pids = append(pids, child)
	}
	return pids
}

// spawn starts a program on one core; it dies with us.
func spawn(ctx context.Context, core, dir string, args ...string) (int, error) {
	cmd := exec.CommandContext(ctx, "taskset", append([]string{"-c", core}, args...)...)
	cmd.Env = append(os.Environ(), "GOMAXPROCS=1")
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	logFile, err := os.Create(filepath.Join(dir, filepath.Base(args[0])+fmt.Sprint(time.Now().UnixNano())+".log"))
	if err != nil {
		return 0, err
	}
	cmd.Stdout, cmd.Stderr = logFile, logFile
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	go cmd.Wait() // reaped; the log has what it said
	return cmd.Process.Pid, nil
}

// catalog runs a stand-in for Consul with one service, web, at the origin.
func catalog(ctx context.Context, origin string) (addr string, err error) {
	addr, register, err := standIn(ctx)
	if err == nil {
		err = register("web", "web-1", origin, []string{"urlprefix-/"})
	}
	return addr, err
}

// standIn runs a stand-in for Consul. register adds an instance.
func standIn(ctx context.Context) (addr string, register func(name, id, at string, tags []string) error, err error) {
	dc := devconsul.New()
	go dc.Run(ctx)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	go http.Serve(ln, dc)
	addr = ln.Addr().String()
	return addr, func(name, id, at string, tags []string) error {
		host, port := addrPort(at)
		body, err := json.Marshal(map[string]any{
			"ID": id, "Name": name, "Address": host, "Port": port, "Tags": tags,
			"Check": map[string]any{"TTL": "24h", "Status": "passing"},
		})
		if err != nil {
			return err
		}
		req, err := http.NewRequest("PUT", "http://"+addr+"/v1/agent/service/register", bytes.NewReader(body))
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != 200 {
			b, _ := io.ReadAll(resp.Body)
			return fmt.Errorf("register %s: %s: %s", id, resp.Status, b)
		}
		return nil
	}, nil
}

// answers waits until a proxy passes requests on.
func answers(addr, path string) error { return answersFor(addr, addr, path) }

func answersFor(addr, host, path string) (err error) {
	for range 400 {
		req, err := http.NewRequest("GET", "http://"+addr+"/"+path, nil)
		if err != nil {
			return err
		}
		req.Host = host
		if err = answer200(req); err == nil {
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return err
}

func answer200(req *http.Request) error {
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != 200 {
		return fmt.Errorf("%s answers %s", req.URL, resp.Status)
	}
	return nil
}

func free() string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

func write(dir, name, text string) string {
	p := filepath.Join(dir, name)
	if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
		log.Fatal(err)
	}
	return p
}

func nginxConf(name, http string) string {
	return fmt.Sprintf(`daemon off; worker_processes 1; pid %[1]s.pid; error_log %[1]s.err;
events { worker_connections 4096; }
http { access_log off; sendfile on; tcp_nodelay on; client_body_temp_path tmp-%[1]s-1; proxy_temp_path tmp-%[1]s-2; fastcgi_temp_path tmp-%[1]s-3; uwsgi_temp_path tmp-%[1]s-4; scgi_temp_path tmp-%[1]s-5; %[2]s }`, name, http)
}

func version(tool, flag string) string {
	out, _ := exec.Command(tool, flag).CombinedOutput()
	return string(regexp.MustCompile(`\d+\.\d+\.\d+`).Find(out))
}

func median(v []float64) float64 {
	v = slices.Clone(v)
	slices.SortFunc(v, cmp.Compare[float64])
	return v[len(v)/2]
}
