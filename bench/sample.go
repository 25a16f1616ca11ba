package main

import (
	"fmt"
	"os"
	"sort"
	"syscall"
	"time"
)

// sample is one measurement.
type sample struct {
	wall   time.Duration
	cpu    time.Duration // user and system time
	frozen time.Duration // how long the target stood still; 0 if not measured
	peak   int64         // memory of the program that did it, in bytes
}

// spent fills in what a child that has ended has used.
func (s *sample) spent(p *os.ProcessState) {
	s.cpu = p.UserTime() + p.SystemTime()
	if r, ok := p.SysUsage().(*syscall.Rusage); ok {
		s.peak = int64(r.Maxrss) << 10
	}
}

// series are measurements of the same.
type series []sample

func (s series) sorted(of func(sample) time.Duration) []time.Duration {
	list := make([]time.Duration, len(s))
	for i, x := range s {
		list[i] = of(x)
	}
	sort.Slice(list, func(i, j int) bool { return list[i] < list[j] })
	return list
}

func (s series) least(of func(sample) time.Duration) time.Duration { return s.sorted(of)[0] }

// times gives median and minimum in milliseconds.
func (s series) times(of func(sample) time.Duration) string {
	l := s.sorted(of)
	return fmt.Sprintf("%s (%s)", ms(l[len(l)/2]), ms(l[0]))
}

// peak gives the highest peak in MiB.
func (s series) peak() string {
	var most int64
	for _, x := range s {
		if x.peak > most {
			most = x.peak
		}
	}
	return fmt.Sprintf("%.1f", float64(most)/(1<<20))
}

func wall(s sample) time.Duration   { return s.wall }
func cpu(s sample) time.Duration    { return s.cpu }
func frozen(s sample) time.Duration { return s.frozen }

// ms prints a time in milliseconds with three digits.
func ms(d time.Duration) string {
	v := d.Seconds() * 1e3
	switch {
	case v < 10:
		return fmt.Sprintf("%.2f", v)
	case v < 100:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.0f", v)
}

// ratio of the least of two series.
func ratio(a, b series, of func(sample) time.Duration) string {
	least := b.least(of)
	if least == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", float64(a.least(of))/float64(least))
}
