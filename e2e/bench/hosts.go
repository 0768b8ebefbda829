package main

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
)

// The size of the great table: hosts × paths routes of one service at one
// address, so that only the table differs; its instances have as many tags as
// one may have.
const (
	manyHosts = 10_000
	manyPaths = 5
	manyTags  = 64
)

// hosts compares the balancer with one route with one that has 50,000 routes
// on 10,000 hosts: the same load, which names a random host in every request.
func hosts(ctx context.Context, dir, origin, path string) error {
	script := write(dir, "hosts.lua", fmt.Sprintf(`
math.randomseed(42)
request = function()
	return wrk.format("GET", "/%s", {["Host"] = "h" .. math.random(0, %d) .. ".example"})
end
`, path, manyHosts-1))
	var tags []string
	for h := range manyHosts {
		for p := range manyPaths {
			tag := fmt.Sprintf("urlprefix-h%d.example/", h)
			if p > 0 {
				tag += fmt.Sprintf("p%d/", p)
			}
			tags = append(tags, tag)
		}
	}
	var all []contender
	for _, c := range []struct {
		name string
		tags []string
	}{{"1 route", []string{"urlprefix-/"}}, {"50,000 routes", tags}} {
		consul, register, err := standIn(ctx)
		if err != nil {
			return err
		}
		for i := 0; i*manyTags < len(c.tags); i++ {
			if err := register("web", fmt.Sprintf("web-%d", i), origin, c.tags[i*manyTags:min(len(c.tags), (i+1)*manyTags)]); err != nil {
				return err
			}
		}
		a := free()
		pid, err := spawn(ctx, proxyCore, dir, *lb, "run", "-proxy.addr", a, "-ui.addr", free(), "-registry.consul.addr", consul, "-log.level", "error")
		if err != nil {
			return err
		}
		if err := answersFor(a, fmt.Sprintf("h%d.example", manyHosts-1), path); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		all = append(all, contender{c.name, a, family(pid)})
	}
	fmt.Printf("\nThe same load with a random one of %d hosts in each request, %d connections, median of %d rounds of %s.\n\n", manyHosts, 64, *rounds, *duration)
	fmt.Print("| table | CPU per request | requests a second |\n|---|---|---|\n")
	cost, rate := make([][]float64, len(all)), make([][]float64, len(all))
	for round := range *rounds + 1 {
		for i := range all {
			i := (i + round) % len(all)
			before := cpu(all[i].pids)
			out, err := exec.Command("taskset", "-c", originCore, "wrk", "-t1", "-c64", "-d", duration.String(), "-s", script, "http://"+all[i].addr+"/").CombinedOutput()
			if err != nil {
				return fmt.Errorf("wrk: %w: %s", err, out)
			}
			used := cpu(all[i].pids) - before
			m := regexp.MustCompile(`(\d+) requests in`).FindSubmatch(out)
			if m == nil || strings.Contains(string(out), "Non-2xx") {
				return fmt.Errorf("wrk saw wrong answers:\n%s", out)
			}
			n, _ := strconv.ParseFloat(string(m[1]), 64)
			if round > 0 {
				cost[i], rate[i] = append(cost[i], used.Seconds()*1e6/n), append(rate[i], n/duration.Seconds())
			}
		}
	}
	for i, c := range all {
		fmt.Printf("| %s | %.1f µs | %.0f |\n", c.name, median(cost[i]), median(rate[i]))
	}
	fmt.Printf("| ratio | %.2f | %.2f |\n", median(cost[1])/median(cost[0]), median(rate[1])/median(rate[0]))
	return nil
}

func addrPort(addr string) (host string, port int) {
	host, p, _ := net.SplitHostPort(addr)
	port, _ = strconv.Atoi(p)
	return host, port
}
