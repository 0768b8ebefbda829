package admin

import (
	"fmt"
	"testing"

	"serin/route"
)

func TestArmShares(t *testing.T) {
	f := func(stable, canary, backup int, split *route.Split, want string) {
		t.Helper()
		p := &route.Part{Split: split}
		for arm, n := range []int{stable, canary, backup} {
			p.Arms[arm].Ready = make([]*route.Target, n)
		}
		if got := fmt.Sprint(armShares(p)); got != want {
			t.Errorf("%d stable, %d canary, %d backup, %+v\n got %s\nwant %s", stable, canary, backup, split, got, want)
		}
	}
	quarter := &route.Split{Ratio: 0.25}
	f(2, 1, 0, nil, "[1 0 0]")
	f(2, 1, 1, quarter, "[0.75 0.25 0]")
	f(2, 0, 1, quarter, "[1 0 0]")
	f(0, 1, 1, quarter, "[0 1 0]")
	f(0, 0, 1, quarter, "[0 0 1]")
	f(0, 0, 0, quarter, "[0 0 0]")
	f(2, 1, 0, &route.Split{Ratio: 1}, "[0 1 0]")
	f(2, 1, 0, &route.Split{Ratio: 1, MinHealthy: 2}, "[1 0 0]")
	f(0, 1, 0, &route.Split{Ratio: 1, MinHealthy: 2}, "[0 1 0]")
}

func TestTargetShares(t *testing.T) {
	f := func(fixed float64, want string, targets ...*route.Target) {
		t.Helper()
		if got := fmt.Sprint(targetShares(&route.Arm{Fixed: fixed, Ready: targets})); got != want {
			t.Errorf("targets %v with %v fixed\n got %s\nwant %s", targets, fixed, got, want)
		}
	}
	by := func(weight float64, capacity int) *route.Target {
		return &route.Target{Weight: weight, Capacity: capacity}
	}
	f(0, "[]")
	f(0, "[0.5 0.5]", by(-1, 1), by(-1, 1))
	f(0, "[0.75 0.25]", by(-1, 3), by(-1, 0))
	f(0.5, "[0.5 0.25 0.25]", by(0.5, 1), by(-1, 1), by(-1, 1))
	f(1, "[0.25 0.75]", by(0.125, 1), by(0.375, 1))
}
