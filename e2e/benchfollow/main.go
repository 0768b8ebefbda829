// Command benchfollow measures how soon, and at what cost, a change in Consul
// reaches the traffic: with a real Consul, the real lb, and any number of
// services, over HTTPS (a stream per service) and over plain HTTP (bells).
//
// Every figure is from the moment the write of the change was answered to the
// first request that proves it; a check that turns critical, and an instance that
// is deregistered, are proved by the 503 of a host that only this instance serves.
// CPU per change is utime + stime of the balancer and of the agent over changes
// that nobody sends requests for, less what both spend when nothing changes.
//
// It needs bin/consul (make consul), prints Markdown, and fails on no time.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"serin/internal/agent"
)

func main() {
	o := options{}
	sizes := flag.String("services", "10,2000,10000", "numbers of services, of two instances each on 100 nodes")
	modes := flag.String("modes", "https,http", "how the balancer speaks to the agent")
	flag.IntVar(&o.rounds, "rounds", 100, "changes of each kind that are timed")
	flag.IntVar(&o.costs, "costs", 20, "changes of each kind whose CPU is measured")
	flag.StringVar(&o.lb, "lb", "", "the balancer's binary; empty is built from the source")
	flag.DurationVar(&o.storm, "storm", time.Minute, "how long the storm of changes lasts; 0 is none")
	flag.IntVar(&o.rate, "rate", 50, "changes a second of the storm")
	flag.Parse()
	if err := run(o, strings.Split(*sizes, ","), strings.Split(*modes, ",")); err != nil {
		fmt.Fprintln(os.Stderr, "benchfollow:", err)
		os.Exit(1)
	}
}

type options struct {
	lb                  string
	rounds, costs, rate int
	storm               time.Duration
}

func run(o options, sizes, modes []string) (err error) {
	dir, err := os.MkdirTemp("", "benchfollow")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if o.lb == "" {
		o.lb = filepath.Join(dir, "lb")
		if out, err := exec.Command("go", "build", "-o", o.lb, "serin/cmd/lb").CombinedOutput(); err != nil {
			return fmt.Errorf("go build serin/cmd/lb: %w\n%s", err, out)
		}
	}
	fmt.Println("| services × 2 | agent | change | p50 | p99 | slowest | balancer's CPU | agent's CPU |")
	fmt.Println("|---|---|---|---|---|---|---|---|")
	var notes []string
	for _, size := range sizes {
		n, err := strconv.Atoi(strings.TrimSpace(size))
		if err != nil || n < 1 {
			return fmt.Errorf("-services %q: want numbers above 0", size)
		}
		for _, mode := range modes {
			if mode != "https" && mode != "http" {
				return fmt.Errorf("-modes %q: want https or http", mode)
			}
			b := &bench{options: o, dir: dir, n: n, pool: min(n, mostPool), mode: mode}
			err := b.guarded(b.run)
			b.close()
			if err != nil {
				return fmt.Errorf("%d services, %s: %w", n, mode, err)
			}
			notes = append(notes, b.notes...)
		}
	}
	fmt.Println()
	for _, n := range notes {
		fmt.Println("- " + n)
	}
	return nil
}

// bench is the measurement of one size in one mode.
type bench struct {
	options
	*host
	dir, mode string
	n, pool   int

	consul    string // http://host:port, for writes
	agent     *agent.Agent
	balancer  *exec.Cmd
	ended     chan struct{} // closed when the balancer has
	traffic   string        // host:port
	admin     string
	listeners []net.Listener
	ports     []int
	notes     []string
	serial    int
}

// failure carries an error out of a callback.
type failure struct{ err error }

// guarded runs f, whose helpers panic with a failure.
func (b *bench) guarded(f func()) (err error) {
	b.host = &host{}
	defer func() {
		switch r := recover().(type) {
		case nil:
		case failure:
			err = r.err
		default:
			panic(r)
		}
	}()
	f()
	return nil
}

func must(err error) {
	if err != nil {
		panic(failure{err})
	}
}

func (b *bench) close() {
	if b.balancer != nil {
		_ = b.balancer.Process.Kill()
		<-b.ended
	}
	for _, ln := range b.listeners {
		ln.Close()
	}
	b.host.close()
}

func (b *bench) run() {
	b.agent = agent.Start(b.host, agent.Config{TLS: b.mode == "https"})
	b.consul = "http://" + b.agent.Addr()
	for range 4 {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		must(err)
		b.listeners = append(b.listeners, ln)
		b.ports = append(b.ports, ln.Addr().(*net.TCPAddr).Port)
		go http.Serve(ln, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok") }))
	}
	b.fill()
	agentIdle := b.cpu(b.agent.PID(), 3*time.Second)
	began := time.Now()
	b.start()
	b.until(3*time.Minute, "the balancer is ready", func() bool { return b.status("http://"+b.admin+"/ready", "") == 200 })
	b.note("ready %.1f s after its start", time.Since(began).Seconds())
	time.Sleep(5 * time.Second)
	lbIdle, agentBusy := b.idle(35 * time.Second) // longer than a query waits
	b.note("when nothing changes the balancer takes %.2f %% of a core, the agent %.2f %% (%.2f %% without a balancer)", 100*lbIdle, 100*agentBusy, 100*agentIdle)
	b.note("resident: balancer %d MB, agent %d MB", rss(b.balancer.Process.Pid), rss(b.agent.PID()))

	for _, k := range b.kinds() {
		b.measure(k, lbIdle, agentBusy)
	}
	if b.storm > 0 {
		b.weather(lbIdle, agentBusy)
	}
	b.note("after all: %s", b.watchStatus())
}

func (b *bench) note(format string, args ...any) {
	b.notes = append(b.notes, fmt.Sprintf("%d services, %s: ", b.n, b.mode)+fmt.Sprintf(format, args...))
	fmt.Fprintln(os.Stderr, b.notes[len(b.notes)-1])
}

// fill registers the services that stay, and those that the changes are made to.
func (b *bench) fill() {
	var ops []any
	flush := func() {
		if len(ops) > 0 {
			b.put("/v1/txn", ops)
		}
		ops = nil
	}
	for i := range 100 {
		ops = append(ops, obj{"Node": obj{"Verb": "set", "Node": obj{"Node": node(i), "Address": "127.0.0.1"}}})
		if len(ops) >= 60 {
			flush()
		}
	}
	flush()
	for i := range b.n {
		for k := range 2 {
			name := fmt.Sprintf("svc-%05d", i)
			ops = append(ops, b.txn(name, fmt.Sprintf("%s-%d", name, k), node(2*i+k), "urlprefix-"+name+".test/", "passing")...)
		}
		if len(ops) >= 60 {
			flush()
		}
	}
	flush()
	for i := range b.pool {
		name := poolName(i)
		ops = append(ops, b.txn(name, name+"-a", node(i), "urlprefix-"+name+".test/", "passing")...)
		ops = append(ops, b.txn(name, name+"-b", node(i+1), "urlprefix-"+poolHost(i)+"/", "critical")...)
		if len(ops) >= 60 {
			flush()
		}
	}
	flush()
}

type obj map[string]any

func node(i int) string { return fmt.Sprintf("node-%03d", i%100) }

func (b *bench) port(id string) int { return b.ports[len(id)%len(b.ports)] }

func (b *bench) txn(name, id, node, tag, status string) []any {
	return []any{
		obj{"Service": obj{"Verb": "set", "Node": node, "Service": obj{"ID": id, "Service": name, "Address": "127.0.0.1", "Port": b.port(id), "Tags": []string{tag}}}},
		obj{"Check": obj{"Verb": "set", "Check": obj{"Node": node, "CheckID": "service:" + id, "Name": "ttl", "ServiceID": id, "Status": status, "Output": "as registered"}}},
	}
}

// mostPool bounds how many services the changes are made to. Each has an instance that
// passes, and one that is critical and alone has the tag of the pool's host: so a
// third one with that tag changes no list of tags, and is all that serves the host.
const mostPool = 100

func poolName(i int) string { return fmt.Sprintf("pool-%03d", i) }
func poolHost(i int) string { return fmt.Sprintf("host-%03d.test", i) }

// third writes the third instance of a service of the pool.
func (b *bench) third(i int, status string) {
	name := poolName(i)
	b.register(name, name+"-c", node(i+2), "urlprefix-"+poolHost(i)+"/", status)
}

func (b *bench) noThird(i int) { b.deregister(poolName(i)+"-c", node(i+2)) }

func (b *bench) register(name, id, node, tag, status string) {
	b.put("/v1/catalog/register", obj{
		"Node": node, "Address": "127.0.0.1", "SkipNodeUpdate": true,
		"Service": obj{"ID": id, "Service": name, "Address": "127.0.0.1", "Port": b.port(id), "Tags": []string{tag}},
		"Check":   obj{"Node": node, "CheckID": "service:" + id, "Name": "ttl", "ServiceID": id, "Status": status, "Output": "as registered"},
	})
}

func (b *bench) deregister(id, node string) {
	b.put("/v1/catalog/deregister", obj{"Node": node, "ServiceID": id})
}

// kind is one kind of change.
type kind struct {
	name   string
	before func(i int) // brings about what the change needs, untimed
	change func(i int)
	host   func(i int) string
	want   int         // status that proves it
	after  func(i int) // undoes it, untimed
}

func (b *bench) kinds() []kind {
	fresh := func(i int) string { return fmt.Sprintf("new-%d-%s", i, b.mode) }
	freshHost := func(i int) string { return fresh(i) + ".test" }
	register := func(i int) {
		b.register(fresh(i), fresh(i)+"-1", node(i), "urlprefix-"+freshHost(i)+"/", "passing")
	}
	host := func(i int) string { return poolHost(i % b.pool) }
	status := func(s string) func(int) { return func(i int) { b.third(i%b.pool, s) } }
	gone := func(i int) { b.noThird(i % b.pool) }
	nothing := func(int) {}
	return []kind{
		{"a new service", nothing, register, freshHost, 200, func(i int) { b.deregister(fresh(i)+"-1", node(i)) }},
		{"one more passing instance", nothing, status("passing"), host, 200, gone},
		{"a passing instance deregistered", status("passing"), gone, host, 503, nothing},
		{"a check turns critical", status("passing"), status("critical"), host, 503, gone},
		{"a check passes again", status("critical"), status("passing"), host, 200, gone},
	}
}

// measure times changes of a kind, then makes some for their CPU.
func (b *bench) measure(k kind, lbIdle, agentIdle float64) {
	var took []time.Duration
	other := map[int]int{200: 503, 503: 200}[k.want]
	for range b.rounds {
		b.serial++
		i := b.serial
		k.before(i)
		b.until(20*time.Second, k.name+": the state before", func() bool {
			s := b.ask(k.host(i))
			return s == other || other == 503 && s == 404
		})
		time.Sleep(300*time.Millisecond + rand.N(200*time.Millisecond)) // calm
		k.change(i)
		began := time.Now()
		b.until(20*time.Second, k.name, func() bool { return b.ask(k.host(i)) == k.want })
		took = append(took, time.Since(began))
		k.after(i)
	}
	time.Sleep(2 * time.Second)

	// What a change costs, told apart from what leads to it by doing that first.
	pause := time.Second
	ids := make([]int, b.costs)
	for j := range ids {
		b.serial++
		ids[j] = b.serial
	}
	ids = ids[:min(len(ids), b.pool)]
	for _, i := range ids {
		k.before(i)
		time.Sleep(20 * time.Millisecond)
	}
	time.Sleep(4 * time.Second)
	lb, ag, at := cpuOf(b.balancer.Process.Pid), cpuOf(b.agent.PID()), time.Now()
	for _, i := range ids {
		k.change(i)
		time.Sleep(pause)
	}
	lb, ag = cpuOf(b.balancer.Process.Pid)-lb, cpuOf(b.agent.PID())-ag
	wall := time.Since(at).Seconds()
	each := func(d time.Duration, idle float64) float64 {
		return 1000 * (d.Seconds() - idle*wall) / float64(max(1, len(ids)))
	}
	for _, i := range ids {
		k.after(i)
		time.Sleep(20 * time.Millisecond)
	}
	slices.Sort(took)
	fmt.Printf("| %d | %s | %s | %s | %s | %s | %.1f ms | %.1f ms |\n", b.n, b.mode, k.name,
		ms(quantile(took, 0.5)), ms(quantile(took, 0.99)), ms(quantile(took, 1)), each(lb, lbIdle), each(ag, agentIdle))
	time.Sleep(2 * time.Second)
}

// weather makes many changes a second, of all kinds, and measures how long after
// the last one everything is right.
func (b *bench) weather(lbIdle, agentIdle float64) {
	want := make([]int, b.pool)
	for i := range want {
		want[i] = 503
	}
	lb, ag, at := cpuOf(b.balancer.Process.Pid), cpuOf(b.agent.PID()), time.Now()
	changes := 0
	fresh := func(i int) string { return fmt.Sprintf("storm-%03d", i) }
	there := make([]bool, b.pool)
	for next := at; time.Since(at) < b.storm; {
		i := rand.IntN(b.pool)
		switch rand.IntN(5) {
		case 0:
			b.third(i, "passing")
			want[i] = 200
		case 1:
			b.third(i, "critical")
			want[i] = 503
		case 2:
			b.noThird(i)
			want[i] = 503
		case 3:
			b.register(fresh(i), fresh(i)+"-1", node(i), "urlprefix-"+fresh(i)+".test/", "passing")
			there[i] = true
		case 4:
			b.deregister(fresh(i)+"-1", node(i))
			there[i] = false
		}
		changes++
		next = next.Add(time.Second / time.Duration(b.rate))
		time.Sleep(time.Until(next))
	}
	last := time.Now()
	lb, ag = cpuOf(b.balancer.Process.Pid)-lb, cpuOf(b.agent.PID())-ag
	wall := last.Sub(at).Seconds()
	wrong := ""
	right := func() bool {
		for i := range b.pool {
			if got := b.ask(poolHost(i)); got != want[i] {
				wrong = fmt.Sprintf("%s answered %d, not %d", poolHost(i), got, want[i])
				return false
			}
			if got := b.ask(fresh(i) + ".test"); (got == 200) != there[i] {
				wrong = fmt.Sprintf("%s.test answered %d", fresh(i), got)
				return false
			}
		}
		return true
	}
	b.until(time.Minute, "all is right after the storm", right)
	took := time.Since(last)
	if wrong != "" {
		b.note("the last to be right after the storm: %s", wrong)
	}
	each := func(d time.Duration, idle float64) float64 {
		return 1000 * (d.Seconds() - idle*wall) / float64(changes)
	}
	fmt.Printf("| %d | %s | %d a second for %s: all right after the last | %s | | | %.1f ms | %.1f ms |\n",
		b.n, b.mode, int(float64(changes)/wall+0.5), b.storm, ms(took), each(lb, lbIdle), each(ag, agentIdle))
}

// start starts the balancer.
func (b *bench) start() {
	free := func() string {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		must(err)
		defer ln.Close()
		return ln.Addr().String()
	}
	b.traffic, b.admin = free(), free()
	log, err := os.Create(filepath.Join(b.dir, "lb.log"))
	must(err)
	defer log.Close()
	b.balancer = exec.Command(b.lb, "run", "-proxy.addr", b.traffic, "-ui.addr", b.admin, "-registry.consul.addr", b.agent.URL(), "-log.level", "warn")
	b.balancer.Env = slices.DeleteFunc(os.Environ(), func(kv string) bool {
		return strings.HasPrefix(kv, "CONSUL_") || strings.HasPrefix(kv, "LB_") || strings.HasPrefix(kv, "STATE_DIRECTORY")
	})
	if b.mode == "https" {
		b.balancer.Env = append(b.balancer.Env, "CONSUL_CACERT="+b.agent.CAFile())
	}
	b.balancer.Stdout, b.balancer.Stderr = log, log
	b.balancer.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	must(b.balancer.Start())
	b.ended = make(chan struct{})
	go func() {
		_ = b.balancer.Wait() // how it ended is in its log
		close(b.ended)
	}()
}

var client = &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 4}}

func (b *bench) put(path string, body any) {
	text, err := json.Marshal(body)
	must(err)
	req, err := http.NewRequest(http.MethodPut, b.consul+path, bytes.NewReader(text))
	must(err)
	resp, err := client.Do(req)
	must(err)
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	must(err)
	if resp.StatusCode != http.StatusOK {
		must(fmt.Errorf("PUT %s: %s: %.200s", path, resp.Status, answer))
	}
}

// ask sends a request for host through the balancer and returns the status.
func (b *bench) ask(host string) int { return b.status("http://"+b.traffic+"/", host) }

// status returns the status of an answer, 0 when there is none.
func (b *bench) status(url, host string) int {
	req, err := http.NewRequest(http.MethodGet, url, nil)
	must(err)
	req.Host = host
	resp, err := client.Do(req)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode
}

// watchStatus returns what the balancer says of following.
func (b *bench) watchStatus() string {
	resp, err := client.Get("http://" + b.admin + "/api/v1/status")
	must(err)
	defer resp.Body.Close()
	var s struct{ Registry json.RawMessage }
	must(json.NewDecoder(resp.Body).Decode(&s))
	var line bytes.Buffer
	must(json.Compact(&line, s.Registry))
	return line.String()
}

// until calls ok every half a millisecond until it is true.
func (b *bench) until(limit time.Duration, what string, ok func() bool) {
	for began := time.Now(); !ok(); time.Sleep(500 * time.Microsecond) {
		gone := false
		select {
		case <-b.ended:
			gone = true
		default:
		}
		if gone || time.Since(began) > limit {
			log, _ := os.ReadFile(filepath.Join(b.dir, "lb.log"))
			must(fmt.Errorf("not within %s: %s\n%.2000s", limit, what, log))
		}
	}
}

// cpu returns what part of a core a process takes.
func (b *bench) cpu(pid int, d time.Duration) float64 {
	before := cpuOf(pid)
	time.Sleep(d)
	return (cpuOf(pid) - before).Seconds() / d.Seconds()
}

func (b *bench) idle(d time.Duration) (lb, ag float64) {
	l, a := cpuOf(b.balancer.Process.Pid), cpuOf(b.agent.PID())
	time.Sleep(d)
	return (cpuOf(b.balancer.Process.Pid) - l).Seconds() / d.Seconds(), (cpuOf(b.agent.PID()) - a).Seconds() / d.Seconds()
}

// cpuOf returns the CPU time of a process so far, from its schedstat, which
// counts nanoseconds, summed over its threads.
func cpuOf(pid int) (sum time.Duration) {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err == nil && len(tasks) == 0 {
		err = errors.New("no such process")
	}
	must(err)
	for _, task := range tasks {
		text, err := os.ReadFile(task)
		if err != nil {
			continue // a thread that has ended
		}
		ns, _ := strconv.ParseInt(strings.Fields(string(text))[0], 10, 64)
		sum += time.Duration(ns)
	}
	return sum
}

// rss returns the resident memory of a process in MB.
func rss(pid int) int {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	must(err)
	_, rest, _ := strings.Cut(string(text), "VmRSS:")
	kb, _ := strconv.Atoi(strings.Fields(rest)[0])
	return kb >> 10
}

func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

func ms(d time.Duration) string {
	if d > 100*time.Millisecond {
		return fmt.Sprintf("%.0f ms", float64(d)/1e6)
	}
	return fmt.Sprintf("%.1f ms", float64(d)/1e6)
}
