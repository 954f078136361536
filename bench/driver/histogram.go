package main

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// A histogram counts every latency in buckets that are at most 1/128 of their value wide, so that
// a percentile is of all values, not of a sample. Many goroutines may add at once.
type histogram struct {
	counts  [57 * half]atomic.Uint64
	largest atomic.Int64
}

// Values below 2*half have a bucket each; above, every power of two has half as many.
const half = 128

func (h *histogram) add(latency time.Duration) {
	value := max(int64(latency), 0)
	h.counts[bucket(uint64(value))].Add(1)
	for {
		known := h.largest.Load()
		if value <= known || h.largest.CompareAndSwap(known, value) {
			return
		}
	}
}

func bucket(value uint64) int {
	if value < 2*half {
		return int(value)
	}
	shift := bits.Len64(value) - 8
	return shift*half + int(value>>shift)
}

// The largest value of a bucket.
func upper(bucket int) int64 {
	if bucket < 2*half {
		return int64(bucket)
	}
	shift := bucket/half - 1
	return int64(bucket-shift*half+1)<<shift - 1
}

func (h *histogram) total() uint64 {
	var total uint64
	for at := range h.counts {
		total += h.counts[at].Load()
	}
	return total
}

// The value that so many in a thousand don't exceed, by the nearest rank.
func (h *histogram) perMille(wanted uint64) time.Duration {
	rank := max((h.total()*wanted+999)/1000, 1)
	var seen uint64
	for at := range h.counts {
		seen += h.counts[at].Load()
		if seen >= rank {
			return time.Duration(min(upper(at), h.largest.Load()))
		}
	}
	return 0
}

// What is printed of a histogram.
type latencies struct {
	Count uint64  `json:"count"`
	P50   float64 `json:"p50"`
	P90   float64 `json:"p90"`
	P99   float64 `json:"p99"`
	P999  float64 `json:"p999"`
	Max   float64 `json:"max"`
}

func (h *histogram) summary() *latencies {
	ms := func(value time.Duration) float64 { return float64(value.Microseconds()) / 1000 }
	return &latencies{
		Count: h.total(), P50: ms(h.perMille(500)), P90: ms(h.perMille(900)),
		P99: ms(h.perMille(990)), P999: ms(h.perMille(999)), Max: ms(time.Duration(h.largest.Load())),
	}
}
