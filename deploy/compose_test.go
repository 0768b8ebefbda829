package deploy

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/cli"

	"serin/internal/agent"
)

// Compose v2's own parser accepts the files too (docker-compose 1.29 is what
// the cluster test runs).
func TestComposeFilesByV2Parser(t *testing.T) {
	for _, files := range [][]string{{"docker-compose.yml"}, {"docker-compose.yml", "compose.offline.yml"}} {
		opts, err := cli.NewProjectOptions(files, cli.WithName("serin"), cli.WithWorkingDirectory("."), cli.WithProfiles([]string{"*"}))
		if err != nil {
			t.Fatal(err)
		}
		project, err := opts.LoadProject(t.Context())
		if err != nil {
			t.Fatalf("%v: %v", files, err)
		}
		for _, s := range project.Services {
			for _, p := range s.Ports {
				if p.HostIP != "127.0.0.1" {
					t.Errorf("%v: service %s publishes port %s on %q, want 127.0.0.1 only", files, s.Name, p.Published, p.HostIP)
				}
			}
		}
	}
}

// cluster is the compose project of one test, from locally built images.
type cluster struct {
	t       *testing.T
	compose []string // the compose command
	env     []string
	lb      string // host:port
	admin   string
	consul  string
}

func haveDocker(t *testing.T) []string {
	t.Helper()
	missing := ""
	if exec.Command("docker", "info").Run() != nil {
		missing = "a Docker engine"
	}
	compose := []string{"docker", "compose"}
	if exec.Command("docker", "compose", "version").Run() != nil {
		if compose = []string{"docker-compose"}; exec.Command("docker-compose", "version").Run() != nil {
			missing = "docker-compose"
		}
	}
	switch {
	case missing == "":
		return compose
	case os.Getenv("CI") == "true":
		t.Fatalf("%s is missing", missing)
	default:
		t.Skipf("%s is missing; the compose cluster is not tested here (CI does)", missing)
	}
	return nil
}

// run executes a command of the test and returns its output; the output of a
// command that fails is the error.
func (c *cluster) run(args ...string) (string, error) {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), c.env...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s: %w: %s%s", strings.Join(args, " "), err, out.String(), errOut.String())
	}
	return strings.TrimSpace(out.String()), nil
}

func (c *cluster) must(args ...string) string {
	c.t.Helper()
	out, err := c.run(args...)
	if err != nil {
		c.t.Fatal(err)
	}
	return out
}

func (c *cluster) up() {
	c.t.Helper()
	compose := func(args ...string) []string {
		return append(append(append([]string{}, c.compose...), "-f", "docker-compose.yml", "-f", "compose.offline.yml"), args...)
	}
	c.t.Cleanup(func() {
		if c.t.Failed() {
			out, _ := c.run(compose("logs", "--tail=40", "lb", "consul")...)
			c.t.Logf("logs of the cluster:\n%s", out)
		}
		if out, err := c.run(compose("down", "--volumes", "--remove-orphans", "--timeout", "3")...); err != nil {
			c.t.Errorf("down: %v %s", err, out)
		}
	})
	c.must(compose("up", "-d", "--no-build")...)
}

// ids returns the containers of one service.
func (c *cluster) ids(service string) []string {
	c.t.Helper()
	args := append(append([]string{}, c.compose...), "-f", "docker-compose.yml", "-f", "compose.offline.yml", "ps", "-q", service)
	ids := strings.Fields(c.must(args...))
	if len(ids) == 0 {
		c.t.Fatalf("no container of %s", service)
	}
	return ids
}

// images builds the images of compose.offline.yml under a tag of their own.
func (c *cluster) images() {
	c.t.Helper()
	dir := c.t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "empty"), 0o755); err != nil {
		c.t.Fatal(err)
	}
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", dir+string(filepath.Separator), "serin/cmd/lb", "serin/cmd/demo-service")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		c.t.Fatalf("build: %v\n%s", err, out)
	}
	consul := os.Getenv("CONSUL_BIN")
	if consul == "" {
		consul = "../bin/consul"
	}
	bin, err := os.ReadFile(consul)
	if err != nil {
		if os.Getenv("CI") == "true" {
			c.t.Fatalf("no Consul: %v (make consul)", err)
		}
		c.t.Skipf("no Consul: %v (make consul builds one)", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "consul"), bin, 0o755); err != nil {
		c.t.Fatal(err)
	}
	for _, target := range []string{"lb", "demo-service", "consul"} {
		c.must("docker", "build", "-q", "-f", "Dockerfile.local", "--target", target, "-t", "serin/"+target+":test", dir)
	}
	c.env = append(c.env, "LB_LOCAL_IMAGE=serin/lb:test", "DEMO_LOCAL_IMAGE=serin/demo-service:test", "CONSUL_LOCAL_IMAGE=serin/consul:test")
}

func eventually(t *testing.T, within time.Duration, what string, f func() error) time.Duration {
	t.Helper()
	began := time.Now()
	for {
		err := f()
		took := time.Since(began)
		if err == nil {
			return took
		}
		if took > within {
			t.Fatalf("%s: not within %s: %v", what, within, err)
		}
		<-time.After(100 * time.Millisecond)
	}
}

// watch sends GETs at a steady rate until stop is called; stop returns how many
// were sent and every one that was not answered with 200 within 5 s.
type watch struct {
	stop func() (sent int, failed []string)
}

func watchGETs(addr string, perSecond int) watch {
	ctx, cancel := context.WithCancel(context.Background())
	var (
		mu     sync.Mutex
		sent   int
		failed []string
		wg     sync.WaitGroup
	)
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: perSecond}}
	wg.Go(func() {
		tick := time.NewTicker(time.Second / time.Duration(perSecond))
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			sent++
			wg.Go(func() {
				began := time.Now()
				if _, err := get(client, addr); err != nil {
					mu.Lock()
					failed = append(failed, fmt.Sprintf("at %s after %s: %v", began.Format("15:04:05.000"), time.Since(began).Round(time.Millisecond), err))
					mu.Unlock()
				}
			})
		}
	})
	return watch{stop: func() (int, []string) {
		cancel()
		wg.Wait()
		client.CloseIdleConnections()
		return sent, failed
	}}
}

// get returns the version that answered.
func get(client *http.Client, addr string) (version string, err error) {
	resp, err := client.Get("http://" + addr + "/")
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", err
	}
	if resp.StatusCode != 200 {
		return "", fmt.Errorf("%s: %s", resp.Status, body)
	}
	var answer struct{ Version string }
	return answer.Version, json.Unmarshal(body, &answer)
}

// share is v2's share of n requests.
func share(t *testing.T, addr string, n int) float64 {
	t.Helper()
	client := &http.Client{Timeout: 5 * time.Second}
	defer client.CloseIdleConnections()
	v2 := 0
	for range n {
		v, err := get(client, addr)
		if err != nil {
			t.Fatal(err)
		}
		if v == "v2" {
			v2++
		}
	}
	return float64(v2) / float64(n)
}

// The cluster of docker-compose.yml serves, is steered by Consul KV from
// inside, and answers every GET while parts of it are killed and paused.
func TestComposeCluster(t *testing.T) {
	c := &cluster{t: t, compose: haveDocker(t)}
	lbPort, uiPort, consulPort := strconv.Itoa(agent.FreePort(t)), strconv.Itoa(agent.FreePort(t)), strconv.Itoa(agent.FreePort(t))
	c.lb, c.admin, c.consul = "127.0.0.1:"+lbPort, "127.0.0.1:"+uiPort, "127.0.0.1:"+consulPort
	c.env = []string{
		fmt.Sprintf("COMPOSE_PROJECT_NAME=serin-test-%d", os.Getpid()),
		"LB_PORT=" + lbPort, "LB_ADMIN_PORT=" + uiPort, "CONSUL_PORT=" + consulPort,
		"LB_PROXY_RESPONSEHEADERTIMEOUT=2s",
	}
	c.images()
	c.up()

	client := &http.Client{Timeout: 2 * time.Second}
	t.Cleanup(client.CloseIdleConnections)
	took := eventually(t, 90*time.Second, "traffic flows", func() error { _, err := get(client, c.lb); return err })
	t.Logf("FIGURE first answer %s after the containers were started", took.Round(100*time.Millisecond))
	eventually(t, 60*time.Second, "all three instances serve", func() error {
		body, err := c.run("docker", "exec", c.ids("consul")[0], "consul", "catalog", "nodes", "-service=web")
		if err != nil {
			return err
		}
		var up []json.RawMessage
		resp, err := client.Get("http://" + c.consul + "/v1/health/service/web?passing")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if err := json.NewDecoder(resp.Body).Decode(&up); err != nil {
			return err
		}
		if len(up) != 3 {
			return fmt.Errorf("%d instances pass: %s", len(up), body)
		}
		return nil
	})
	// Compose asks the balancer itself (lb health) whether it is ready.
	eventually(t, 30*time.Second, "the balancer's container is healthy", func() error {
		if out, err := c.run("docker", "inspect", "-f", "{{.State.Health.Status}}", c.ids("lb")[0]); err != nil || out != "healthy" {
			return fmt.Errorf("%s %v", out, err)
		}
		return nil
	})
	c.maintenance(client)
	if got := share(t, c.lb, 300); got != 0 {
		t.Errorf("without a document v2, which has the tag canary, gets %.3f of the traffic, want 0", got)
	}

	c.must("docker", "exec", c.ids("consul")[0], "consul", "kv", "put", "lb/canary", `{"ratio":0.5}`)
	const n = 1000
	eventually(t, 5*time.Second, "the share moves", func() error {
		if got := share(t, c.lb, 50); got == 0 {
			return fmt.Errorf("still 0")
		}
		return nil
	})
	if got := share(t, c.lb, n); math.Abs(got-0.5) > 4.5*math.Sqrt(0.25/n) {
		t.Errorf("v2's share is %.3f of %d requests, want 0.5", got, n)
	}

	w := watchGETs(c.lb, 50)
	leader := c.leader(client)
	victim := "consul-1"
	if leader == victim {
		victim = "consul-2"
	}
	id := c.ids(victim)[0]
	c.must("docker", "kill", id)
	<-time.After(3 * time.Second)
	c.must("docker", "start", id)
	eventually(t, 30*time.Second, "the killed server is a peer again", func() error {
		out, err := c.run("docker", "exec", id, "consul", "operator", "raft", "list-peers")
		if err == nil && strings.Count(out, " true ") < 3 {
			err = fmt.Errorf("%s", out)
		}
		return err
	})
	leader = c.leader(client)
	c.must("docker", "kill", c.ids(leader)[0])
	eventually(t, 30*time.Second, "another leader", func() error {
		if now := c.leader(client); now == leader || now == "" {
			return fmt.Errorf("leader is %q", now)
		}
		return nil
	})
	// The new leader is heard: a write moves the share.
	c.must("docker", "exec", c.ids("consul")[0], "consul", "kv", "put", "lb/canary", `{"ratio":0}`)
	eventually(t, 5*time.Second, "the share falls to 0", func() error {
		if got := share(t, c.lb, 100); got != 0 {
			return fmt.Errorf("still %.2f", got)
		}
		return nil
	})

	paused := c.ids("web-v1")[0]
	c.must("docker", "pause", paused)
	<-time.After(8 * time.Second)
	c.must("docker", "unpause", paused)

	sent, failed := w.stop()
	t.Logf("FIGURE %d GETs while a Consul server, then the leader were killed, then an instance paused: %d not answered within 5 s", sent, len(failed))
	if len(failed) > 0 || sent == 0 {
		t.Errorf("%d of %d GETs failed:\n%s", len(failed), sent, strings.Join(failed[:min(len(failed), 10)], "\n"))
	}
}

// maintenance takes an instance of v1 out and puts it back, as make
// maintenance-on and maintenance-off do.
func (c *cluster) maintenance(client *http.Client) {
	c.t.Helper()
	passing := func(want int) func() error {
		return func() error {
			var routes []struct{ Tags []string }
			resp, err := client.Get("http://" + c.admin + "/api/routes")
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			if err := json.NewDecoder(resp.Body).Decode(&routes); err != nil {
				return err
			}
			if len(routes) != want {
				return fmt.Errorf("%d instances get traffic, want %d", len(routes), want)
			}
			return nil
		}
	}
	eventually(c.t, 10*time.Second, "all three instances get traffic", passing(3))
	c.t.Log(c.must("./maintenance.sh", "on"))
	eventually(c.t, 5*time.Second, "one is out", passing(2))
	c.t.Log(c.must("./maintenance.sh", "off"))
	eventually(c.t, 5*time.Second, "it is back", passing(3))
}

// leader returns the compose service that leads, "" when none does.
func (c *cluster) leader(client *http.Client) string {
	c.t.Helper()
	var addr string
	resp, err := client.Get("http://" + c.consul + "/v1/status/leader")
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&addr); err != nil {
		return ""
	}
	ip, _, _ := net.SplitHostPort(addr)
	for _, s := range []string{"consul-1", "consul-2", "consul-3"} {
		out, err := c.run("docker", "inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", c.ids(s)[0])
		if err == nil && ip != "" && out == ip {
			return s
		}
	}
	return ""
}
