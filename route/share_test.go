package route

import (
	"fmt"
	"testing"

	"serin/registry"
)

func TestPartShares(t *testing.T) {
	f := func(stable, canary, backup int, split *Split, want string) {
		t.Helper()
		p := &Part{Split: split}
		for arm, n := range []int{stable, canary, backup} {
			p.Arms[arm] = &Arm{Ready: make([]*Target, n)}
		}
		if got := fmt.Sprint(p.Shares()); got != want {
			t.Errorf("%d stable, %d canary, %d backup, %+v\n got %s\nwant %s", stable, canary, backup, split, got, want)
		}
	}
	quarter := &Split{Ratio: 0.25}
	f(2, 1, 0, &Split{}, "[1 0 0]")
	f(2, 1, 1, quarter, "[0.75 0.25 0]")
	f(2, 0, 1, quarter, "[1 0 0]")
	f(0, 1, 1, quarter, "[0 1 0]")
	f(0, 0, 1, quarter, "[0 0 1]")
	f(0, 0, 0, quarter, "[0 0 0]")
	f(2, 1, 0, &Split{Ratio: 1}, "[0 1 0]")
	f(2, 1, 0, &Split{Ratio: 1, MinHealthy: 2}, "[1 0 0]")
	f(0, 1, 0, &Split{Ratio: 1, MinHealthy: 2}, "[0 1 0]")
}

func TestTargetShares(t *testing.T) {
	f := func(fixed float64, want string, targets ...*Target) {
		t.Helper()
		arm := &Arm{Fixed: fixed, Ready: targets}
		got := []float64{}
		for i := range targets {
			got = append(got, arm.Share(i))
		}
		if fmt.Sprint(got) != want {
			t.Errorf("targets %v with %v fixed\n got %v\nwant %s", targets, fixed, got, want)
		}
	}
	by := func(weight float64, capacity int) *Target {
		return &Target{Weight: weight, Instance: &registry.Instance{Weight: capacity}}
	}
	f(0, "[]")
	f(0, "[0.5 0.5]", by(-1, 1), by(-1, 1))
	f(0, "[0.75 0.25]", by(-1, 3), by(-1, 1))
	f(0.5, "[0.5 0.25 0.25]", by(0.5, 1), by(-1, 1), by(-1, 1))
	f(1, "[0.25 0.75]", by(0.125, 1), by(0.375, 1))
}
