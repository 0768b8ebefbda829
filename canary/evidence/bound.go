package evidence

import (
	"math"
	"sort"
)

// Bound returns a rate that the true one is not above at any moment with
// probability 1-beta, of which failures in n requests were seen. It is where the
// mixture of likelihood ratios with weight Beta(1,1),
//
//	∫ θ^s(1−θ)^(n−s) dθ / (p^s(1−p)^(n−s)),
//
// reaches 1/beta (Robbins 1970); without a failure 1−(beta/(n+1))^(1/n). It is 1
// where nothing was seen.
func Bound(n, failures uint64, beta float64) float64 {
	failures = min(failures, n)
	if failures == n {
		return 1
	}
	if failures == 0 {
		return -math.Expm1(math.Log(beta/(float64(n)+1)) / float64(n))
	}
	s, f, m := float64(failures), float64(n-failures), float64(n)
	// The integral is 1/((n+1)·C(n,s)). With the likelihood at its peak, s/n, taken
	// out of both sides, what is left stays small for any n.
	peak := -math.Log(m+1) - logPeak(m, s)
	lo, hi := s/m, 1.0
	for range 200 {
		p := lo + (hi-lo)/2
		if p <= lo || p >= hi {
			break
		}
		if peak+s*math.Log(s/m/p)+f*(math.Log(f/m)-math.Log1p(-p)) < -math.Log(beta) {
			lo = p
		} else {
			hi = p
		}
	}
	return hi
}

// logPeak is the logarithm of the probability of s successes in n at their
// likeliest, 0 < s < n (Loader 2000, Fast and accurate computation of binomial
// probabilities).
func logPeak(n, s float64) float64 {
	return stirling(n) - stirling(s) - stirling(n-s) - math.Log(2*math.Pi*s*(n-s)/n)/2
}

// stirling is the error of Stirling's formula for ln n!.
func stirling(n float64) float64 {
	if n < 16 {
		lg, _ := math.Lgamma(n + 1)
		return lg - ((n+0.5)*math.Log(n) - n + math.Log(2*math.Pi)/2)
	}
	q := 1 / (n * n)
	return (1./12 - (1./360-(1./1260-q/1680)*q)*q) / n
}

// requestsFor returns how many requests with so many failures have a Bound
// below rate; at most a thousand million.
func requestsFor(rate float64, failures uint64, beta float64) uint64 {
	const limit = 1_000_000_000
	return uint64(sort.Search(limit, func(n int) bool {
		return uint64(n) > failures && Bound(uint64(n), failures, beta) < rate
	}))
}
