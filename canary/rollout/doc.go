// Package rollout is how a canary's share moves by itself: the plan of a
// document, the state that all balancers share, the pure step from one to the
// next, and the fleet of balancers that takes these steps together.
//
//	Plan + State + Finding + now → Next → State, Events
//	Plan + State + now → At → Position (what the share is at this moment)
package rollout
