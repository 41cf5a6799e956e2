package seal_test

import (
	"context"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/audit/seal"
	"github.com/vogter/vogter/internal/testenv"
)

// BenchmarkSeal prints how many entries are sealed per second.
func BenchmarkSeal(b *testing.B) {
	w := start(b)
	b.StopTimer()
	w.write(testenv.One, max(b.N, 1000))
	s := seal.NewSealer(seal.Config{Store: w.store, Now: testenv.Now, Log: testenv.Logger(b)})
	b.ResetTimer()
	b.StartTimer()
	n, worked := 0, cpu(b)
	for n < b.N {
		sealed, err := s.Seal(b.Context())
		if err != nil || sealed == 0 {
			b.Fatal(sealed, err)
		}
		n += sealed
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "entries/s")
	b.ReportMetric(float64(n)/(cpu(b)-worked).Seconds(), "entries/core-s") // the engine's work included
}

// cpu returns for how long cores have worked on this process.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkWriters prints what sealing at the same time takes from writers that
// keep half of the machine busy: the time of one write, without and with it.
func BenchmarkWriters(b *testing.B) {
	for _, sealing := range []bool{false, true} {
		name := "alone"
		if sealing {
			name = "sealed"
		}
		b.Run(name, func(b *testing.B) {
			w := start(b)
			ctx, stop := context.WithCancel(b.Context())
			var sealer sync.WaitGroup
			if sealing {
				sealer.Go(func() {
					_ = seal.NewSealer(seal.Config{Store: w.store, Now: testenv.Now, Log: testenv.Logger(b)}).Run(ctx)
				})
			}
			worked := cpu(b)
			var took atomic.Int64
			var writers sync.WaitGroup
			const clients, every = 8, 16 * time.Millisecond // 500 entries/s: about half of two cores
			for range clients {
				writers.Go(func() {
					tick := time.NewTicker(every)
					defer tick.Stop()
					for range b.N / clients {
						<-tick.C
						began := time.Now()
						if err := w.recorder.Record(w.as(testenv.One), audit.Event{Action: "bench"}); err != nil {
							b.Error(err)
						}
						took.Add(int64(time.Since(began)))
					}
				})
			}
			writers.Wait()
			stop()
			sealer.Wait()
			b.ReportMetric(float64((cpu(b)-worked).Microseconds())/float64(b.N), "core-us/write")
			b.ReportMetric(float64(took.Load())/float64(max(b.N/clients*clients, 1))/1e6, "ms/write")
		})
	}
}
