package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// A client that writes, idempotent and with acks=all as is franz-go's default, with its connection
// made and its producer id fetched.
func (l *load) producer(ctx context.Context, options ...kgo.Opt) (*kgo.Client, error) {
	client, err := kgo.NewClient(append(options,
		kgo.SeedBrokers(l.address),
		kgo.DefaultProduceTopic(l.topic),
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.ProducerBatchCompression(kgo.NoCompression()),
	)...)
	if err != nil {
		return nil, err
	}
	if err := client.Ping(ctx); err != nil {
		return nil, err
	}
	_, _, err = client.ProducerID(ctx)
	return client, err
}

// A client that reads these partitions from their beginning.
func (l *load) consumer(partitions []int32) (*kgo.Client, error) {
	from := make(map[int32]kgo.Offset)
	for _, partition := range partitions {
		from[partition] = kgo.NewOffset().AtStart()
	}
	return kgo.NewClient(
		kgo.SeedBrokers(l.address),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{l.topic: from}),
	)
}

// The first failure, and how many there were.
type failures struct {
	count atomic.Int64
	first atomic.Pointer[error]
}

func (f *failures) note(err error) {
	if err != nil {
		f.count.Add(1)
		f.first.CompareAndSwap(nil, &err)
	}
}

func (f *failures) err() error {
	if first := f.first.Load(); first != nil {
		return fmt.Errorf("%d failures, the first: %w", f.count.Load(), *first)
	}
	return nil
}

// A MiB of values that a codec could halve: words and noise in turn. Made before, because the making
// would be measured as well.
func values(size int) [][]byte {
	random := rand.New(rand.NewSource(1))
	made := make([][]byte, max(1<<20/size, 1))
	for index := range made {
		value := make([]byte, size)
		for at := range value {
			if at/32%2 == 0 {
				value[at] = "letters "[at%8]
			} else {
				value[at] = byte(random.Intn(256))
			}
		}
		made[index] = value
	}
	return made
}

// Goroutines that end together.
type tasks struct{ sync.WaitGroup }

func (t *tasks) start(task func()) {
	t.Add(1)
	go func() {
		defer t.Done()
		task()
	}()
}

// As many records as were asked for, as fast as they are taken.
func (l *load) ingest(ctx context.Context) (*result, error) {
	made := values(l.size)
	clients := make([]*kgo.Client, l.producers)
	for at := range clients {
		var err error
		clients[at], err = l.producer(ctx,
			kgo.ProducerLinger(lingerIngest),
			kgo.MaxBufferedRecords(bufferedIngest),
			kgo.RecordPartitioner(kgo.UniformBytesPartitioner(stickyBytes, false, false, nil)),
		)
		if err != nil {
			return nil, err
		}
		defer clients[at].Close()
	}
	var acks histogram
	var failed failures
	r, err := measured(func(time.Time) error {
		var group tasks
		for at, client := range clients {
			group.start(func() {
				for index := at; index < l.records && ctx.Err() == nil; index += l.producers {
					sent := time.Now()
					record := &kgo.Record{Value: made[index%len(made)]}
					client.Produce(ctx, record, func(_ *kgo.Record, err error) {
						acks.add(time.Since(sent))
						failed.note(err)
					})
				}
				failed.note(client.Flush(ctx))
			})
		}
		group.Wait()
		return failed.err()
	})
	if err != nil {
		return nil, err
	}
	r.Records, r.BytesIn = l.records, int64(l.records)*int64(l.size)
	r.Ack = acks.summary()
	return r.finish(), nil
}

// The topic from its beginning, as fast as it is given, and again until the time is over.
func (l *load) replay(ctx context.Context) (*result, error) {
	clients := make([]*kgo.Client, l.consumers)
	beginning := make(map[int32]kgo.EpochOffset)
	for at := range clients {
		var mine []int32
		for partition := at; partition < l.partitions; partition += l.consumers {
			mine = append(mine, int32(partition))
			beginning[int32(partition)] = kgo.EpochOffset{Epoch: -1}
		}
		var err error
		if clients[at], err = l.consumer(mine); err != nil {
			return nil, err
		}
		defer clients[at].Close()
		// What it fetches now it fetches again: only then is it connected.
		if err := clients[at].PollFetches(ctx).Err(); err != nil {
			return nil, err
		}
	}
	records, bytes := 0, int64(0)
	r, err := measured(func(time.Time) error {
		// Cancelled in time, and so not at the deadline, which is a failure.
		reading, cancel := context.WithCancel(ctx)
		defer cancel()
		defer time.AfterFunc(l.reading, cancel).Stop()
		for reading.Err() == nil {
			for _, client := range clients {
				client.SetOffsets(map[string]map[int32]kgo.EpochOffset{l.topic: beginning})
			}
			count, size, err := l.pass(reading, clients)
			if err != nil {
				return err
			}
			if count > l.records || count < l.records && reading.Err() == nil {
				return fmt.Errorf("%d records read, there are %d", count, l.records)
			}
			records, bytes = records+count, bytes+size
		}
		return ctx.Err()
	})
	if err != nil {
		return nil, err
	}
	r.Records, r.BytesOut = records, bytes
	return r.finish(), nil
}

// Reads until all records were seen or the time is over; how many, and the bytes of their values.
func (l *load) pass(ctx context.Context, clients []*kgo.Client) (int, int64, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var records, bytes atomic.Int64
	var failed failures
	var group tasks
	for _, client := range clients {
		group.start(func() {
			for ctx.Err() == nil {
				fetches := client.PollFetches(ctx)
				count, size := int64(0), int64(0)
				fetches.EachRecord(func(record *kgo.Record) {
					count++
					size += int64(len(record.Value))
				})
				bytes.Add(size)
				if records.Add(count) >= int64(l.records) {
					cancel()
					return
				}
				for _, failure := range fetches.Errors() {
					if !errors.Is(failure.Err, context.Canceled) {
						failed.note(failure.Err)
						cancel()
					}
				}
			}
		})
	}
	group.Wait()
	return int(records.Load()), bytes.Load(), failed.err()
}

// Records at fixed times, whatever became of those before (an open loop): a latency counts from
// the time at which its record was to be sent, so a broker that stalls can't hide it by stalling
// its load.
func (l *load) steady(ctx context.Context) (*result, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	clients := make([]*kgo.Client, l.producers)
	for at := range clients {
		var err error
		clients[at], err = l.producer(ctx,
			kgo.ProducerLinger(0), kgo.RecordPartitioner(kgo.ManualPartitioner()))
		if err != nil {
			return nil, err
		}
		defer clients[at].Close()
	}
	var all []int32
	for partition := range l.partitions {
		all = append(all, int32(partition))
	}
	tail, err := l.consumer(all)
	if err != nil {
		return nil, err
	}
	defer tail.Close()
	first := func(partition int) *kgo.Record {
		return &kgo.Record{Value: make([]byte, l.size), Partition: int32(partition)}
	}
	for partition := range l.partitions {
		client := clients[partition%l.producers]
		if err := client.ProduceSync(ctx, first(partition)).FirstErr(); err != nil {
			return nil, err
		}
	}
	// Only then does the tail follow every partition.
	for seen := 0; seen < l.partitions; {
		fetches := tail.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			return nil, err
		}
		seen += fetches.NumRecords()
	}
	var acks, ends histogram
	var failed failures
	made := values(l.size)
	r, err := measured(func(start time.Time) error {
		var group tasks
		group.start(func() {
			for seen := 0; seen < l.records && ctx.Err() == nil; {
				fetches := tail.PollFetches(ctx)
				now := time.Since(start)
				fetches.EachRecord(func(record *kgo.Record) {
					due := time.Duration(binary.BigEndian.Uint64(record.Value))
					ends.add(now - due)
				})
				seen += fetches.NumRecords()
				for _, failure := range fetches.Errors() {
					failed.note(failure.Err)
					cancel()
				}
			}
		})
		group.start(func() {
			// Its own thread and the kernel's timer: the runtime's is off by up to a millisecond.
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			for index := 0; index < l.records && ctx.Err() == nil; index++ {
				due := time.Duration(int64(index) * int64(time.Second) / int64(l.rate))
				for early := due - time.Since(start); early > 0; early = due - time.Since(start) {
					span := syscall.NsecToTimespec(int64(early))
					// Cut short by a signal: the loop goes on with the rest.
					_ = syscall.Nanosleep(&span, nil)
				}
				value := append([]byte(nil), made[index%len(made)]...)
				binary.BigEndian.PutUint64(value, uint64(due))
				record := &kgo.Record{Value: value, Partition: int32(index % l.partitions)}
				client := clients[index%l.partitions%l.producers]
				client.Produce(ctx, record, func(_ *kgo.Record, err error) {
					acks.add(time.Since(start) - due)
					if err != nil {
						failed.note(err)
						cancel()
					}
				})
			}
		})
		group.Wait()
		for _, client := range clients {
			failed.note(client.Flush(ctx))
		}
		return failed.err()
	})
	if err != nil {
		return nil, err
	}
	if seen := ends.total(); seen != uint64(l.records) {
		return nil, fmt.Errorf("%d records came through, %d were sent", seen, l.records)
	}
	r.Records = l.records
	r.BytesIn = int64(l.records) * int64(l.size)
	r.BytesOut = r.BytesIn
	r.Ack, r.EndToEnd = acks.summary(), ends.summary()
	return r.finish(), nil
}

// Enough that batches fill: at most 8 MiB wait in all four producers.
const (
	lingerIngest   = 5 * time.Millisecond
	bufferedIngest = 2048
	stickyBytes    = 64 << 10
)
