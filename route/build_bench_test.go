package route

import (
	"fmt"
	"runtime"
	"testing"

	"serin/registry"
)

// catalogOf has services with a number of route tags on each of their two
// instances, on one host or on one host per service.
func catalogOf(services, tags int, oneHost bool) *registry.Snapshot {
	list := make([]*registry.Service, services)
	for i := range list {
		name := fmt.Sprintf("service-%05d", i)
		host := name + ".example.com"
		if oneHost {
			host = "www.example.com"
		}
		var routes []string
		for k := range tags {
			routes = append(routes, fmt.Sprintf("urlprefix-%s/%s/api-%d", host, name, k))
		}
		svc := &registry.Service{Name: name}
		for n := range 2 {
			svc.Instances = append(svc.Instances, registry.Instance{
				Service: name, ID: fmt.Sprintf("%s-%d", name, n), Node: fmt.Sprint("node-", n), Addr: fmt.Sprintf("10.%d.%d.%d:80", n, i>>8, i&255),
				Ready: true, Health: registry.Passing, Weight: 1, Tags: routes, Created: uint64(i + 1),
			})
		}
		svc.Normalize()
		list[i] = svc
	}
	return registry.New(list...)
}

// catalogCase is a size to measure at.
type catalogCase struct {
	name           string
	services, tags int
	oneHost        bool
	mode           OwnershipMode
}

var catalogCases = []catalogCase{
	{"services=10000/routes=50000", 10000, 5, false, OwnershipOff},
	{"services=10000/routes=50000/one_host", 10000, 5, true, OwnershipOff},
	{"services=50000/routes=50000/one_host", 50000, 1, true, OwnershipOff},
	{"services=10000/routes=50000/first_owner", 10000, 5, false, FirstOwner},
}

func (c *catalogCase) inputs() Inputs {
	return Inputs{Snapshot: catalogOf(c.services, c.tags, c.oneHost), Ownership: &Ownership{Mode: c.mode}}
}

// BenchmarkBuild builds from nothing. retained-B/route is the heap that the
// table and its Builder keep, without the catalog.
func BenchmarkBuild(b *testing.B) {
	for _, c := range catalogCases {
		b.Run(c.name, func(b *testing.B) {
			in := c.inputs()
			b.ReportAllocs()
			for b.Loop() {
				new(Builder).Build(in)
			}
			b.StopTimer()
			before := heap()
			builder := new(Builder)
			t := builder.Build(in)
			b.ReportMetric(float64(heap()-before)/float64(t.Len()), "retained-B/route")
			runtime.KeepAlive(builder)
			runtime.KeepAlive(in)
		})
	}
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkRebuild builds after one service changed: an instance that fails and
// comes back. The snapshot is made beforehand.
func BenchmarkRebuild(b *testing.B) {
	cases := append([]catalogCase{{"services=10/routes=50", 10, 5, false, OwnershipOff}}, catalogCases...)
	for _, c := range cases {
		b.Run(c.name, func(b *testing.B) {
			in, snapshots := c.flapping()
			builder := new(Builder)
			builder.Build(in)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				in.Snapshot = snapshots[i%2]
				builder.Build(in)
			}
		})
	}
}

// flapping returns inputs, and two snapshots of which one has an instance
// that is not ready.
func (c *catalogCase) flapping() (Inputs, [2]*registry.Snapshot) {
	in := c.inputs()
	bad, good := *in.Snapshot.Service("service-00005"), *in.Snapshot.Service("service-00005")
	bad.Instances = append([]registry.Instance(nil), bad.Instances...)
	bad.Instances[0].Ready, bad.Instances[0].Health = false, registry.Critical
	return in, [2]*registry.Snapshot{in.Snapshot.With(&bad), in.Snapshot.With(&good)}
}

// BenchmarkDiff compares a table with the next, and two that have nothing to do
// with each other.
func BenchmarkDiff(b *testing.B) {
	c := catalogCases[0]
	in, snapshots := c.flapping()
	builder := new(Builder)
	old := builder.Build(in)
	in.Snapshot = snapshots[0]
	next := builder.Build(in)
	b.Run(c.name+"/one_service_changed", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if d := Diff(old, next); len(d.TargetsFailed) != 1 {
				b.Fatal(len(d.TargetsFailed))
			}
		}
	})
	other := new(Builder).Build(in)
	b.Run(c.name+"/of_another_builder", func(b *testing.B) {
		for b.Loop() {
			Diff(old, other)
		}
	})
}
