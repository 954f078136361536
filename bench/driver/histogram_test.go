package main

import (
	"math"
	"testing"
	"time"
)

func TestBucketsAreContiguousAndNarrow(t *testing.T) {
	for at := 0; at < len((&histogram{}).counts)-1; at++ {
		if bucket(uint64(upper(at))) != at || bucket(uint64(upper(at))+1) != at+1 {
			t.Fatalf("bucket %d ends at %d", at, upper(at))
		}
		if width := upper(at+1) - upper(at); width > max(1, upper(at)/half+1) {
			t.Fatalf("bucket %d is %d wide", at+1, width)
		}
	}
	if last := bucket(math.MaxInt64); last != len((&histogram{}).counts)-1 {
		t.Fatalf("the largest value is in bucket %d", last)
	}
}

func TestPercentilesAreNearestRanks(t *testing.T) {
	var h histogram
	for value := 1; value <= 1000; value++ {
		h.add(time.Duration(value) * time.Millisecond)
	}
	for _, wanted := range []uint64{1, 500, 900, 990, 999, 1000} {
		exact := float64(time.Duration(wanted) * time.Millisecond)
		if found := float64(h.perMille(wanted)); found < exact || found > exact*(1+1.0/half) {
			t.Errorf("%d in a thousand: %v", wanted, h.perMille(wanted))
		}
	}
	if h.total() != 1000 || h.summary().Max != 1000 {
		t.Errorf("%d values, the largest %v", h.total(), h.summary().Max)
	}
}

func TestOneValueIsEveryPercentile(t *testing.T) {
	var h histogram
	h.add(-time.Second)
	if h.perMille(500) != 0 || h.total() != 1 {
		t.Errorf("a clock that goes back: %v", h.perMille(500))
	}
	var one histogram
	one.add(12345 * time.Nanosecond)
	if one.perMille(1) != 12345 || one.perMille(999) != 12345 {
		t.Errorf("%v and %v", one.perMille(1), one.perMille(999))
	}
}
