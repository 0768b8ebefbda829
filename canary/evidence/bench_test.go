package evidence

import (
	"math/rand/v2"
	"testing"
	"time"
)

// samples are what a benchmark or a race feeds: one request in a hundred fails.
func samples(n int, keyed bool) []Sample {
	rng := rand.New(rand.NewPCG(1, 2))
	out := make([]Sample, n)
	for i := range out {
		key := rng.Uint64()
		out[i] = Sample{
			Canary: rng.Float64() < 0.1, Ratio: 0.1, Failed: rng.Float64() < 0.01,
			Took: time.Duration(rng.ExpFloat64() * 1e6), Key: key, HasKey: keyed, Addr: "10.0.0.1:80",
		}
	}
	return out
}

func BenchmarkRecord(b *testing.B) {
	f := func(name string, cfg Config, change func(*Recorder, []Sample)) {
		feed := samples(1<<16, cfg.Sticky)
		r := NewRecorder(cfg)
		if change != nil {
			change(r, feed)
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				r.Record(feed[i&(len(feed)-1)])
				i++
			}
		})
		b.Run(name+"/parallel", func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for i := rand.IntN(len(feed)); pb.Next(); i++ {
					r.Record(feed[i&(len(feed)-1)])
				}
			})
		})
	}
	f("plain", Config{}, nil)
	f("sticky", Config{Sticky: true}, nil)
	f("slow", Config{SlowAuto: true}, nil)
	f("sticky-slow", Config{Sticky: true, SlowAuto: true}, nil)
	f("warming", Config{}, func(r *Recorder, _ []Sample) {
		r.Warming(map[string]bool{"10.0.0.2:80": true}, 0.5, true)
	})
	f("outage", Config{}, func(_ *Recorder, feed []Sample) {
		for i := range feed {
			feed[i].Failed = true
		}
	})
	f("ramp", Config{}, func(_ *Recorder, feed []Sample) {
		for i := range feed {
			feed[i].Ratio = 0.1 + float64(i/4096)/100
		}
	})
}

func BenchmarkTally(b *testing.B) {
	r := NewRecorder(Config{})
	for _, s := range samples(10_000, false) {
		r.Record(s)
	}
	for b.Loop() {
		r.Tally()
	}
}

func BenchmarkPool(b *testing.B) {
	r := NewRecorder(Config{})
	for _, s := range samples(10_000, false) {
		r.Record(s)
	}
	t := r.Tally()
	for b.Loop() {
		Config{}.Pool(t, t, t)
	}
}
