package proxy

import "serin/route"

// from returns an instance of the arm that may get the request, or nil.
func (d *Decision) from(arm route.ArmName, s Settings, live Live, draw uint64) *route.Target {
	d.serving = arm
	ready := d.Part.Arms[arm].Ready
	if len(ready) == 0 {
		return nil
	}
	return ready[draw%uint64(len(ready))]
}
