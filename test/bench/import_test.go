package bench_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/vogter/vogter/internal/local"
)

// BenchmarkImportOverHTTP streams persons with one record of ten fields each to
// `vogter serve`, 100,000 in full scale, and tells the most memory that process
// has had. What an import costs over bare inserts is measured next to package
// imports.
func BenchmarkImportOverHTTP(b *testing.B) {
	p := start(b)
	n := scaled(5000, 100_000)
	var lines int
	var took, cpu time.Duration
	idle := p.peak(local.PartAPI)
	for b.Loop() {
		before := p.cpu(p.stack.PID(local.PartAPI))
		took += p.load(fmt.Sprintf("I%d", lines), n)
		cpu += p.cpu(p.stack.PID(local.PartAPI)) - before
		lines += n
	}
	b.ReportMetric(float64(lines)/took.Seconds(), "lines/s")
	b.ReportMetric(float64(cpu.Microseconds())/float64(lines), "cpu-µs/line")
	b.ReportMetric(p.peak(local.PartAPI), "peak-MiB")
	b.ReportMetric(idle, "idle-MiB")
}
