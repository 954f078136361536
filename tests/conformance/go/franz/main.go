// franz-go with a group. What the commands do is said in tests/conformance/tests/groups/mod.rs;
// every client has the same ones.
package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	partitions = 12
	largest    = 1<<20 - 4096
	deadline   = 60 * time.Second
)

func main() {
	arguments := os.Args[1:]
	address, topic := arguments[1], arguments[2]
	var err error
	switch arguments[0] {
	case "produce":
		err = produce(address, topic, arguments[3], number(arguments[4]), arguments[5])
	case "group":
		err = newGroup(address, topic, arguments[3], arguments[4]).run(number(arguments[5]))
	case "seek":
		err = seek(address, topic)
	default:
		err = errors.New("unknown command " + arguments[0])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func number(text string) int {
	value, err := strconv.Atoi(text)
	if err != nil {
		panic(err)
	}
	return value
}

func digest(timestamp int64, key, value []byte, headers []kgo.RecordHeader) string {
	state := sha256.New()
	add := func(part []byte) {
		if part == nil {
			state.Write([]byte("-"))
			return
		}
		fmt.Fprintf(state, "%d:", len(part))
		state.Write(part)
	}
	fmt.Fprintf(state, "%d;", timestamp)
	add(key)
	add(value)
	for _, header := range headers {
		add([]byte(header.Key))
		add(header.Value)
	}
	return hex.EncodeToString(state.Sum(nil)[:16])
}

func content(random *rand.Rand, length int) []byte {
	bytes := make([]byte, length)
	if random.Intn(2) == 0 {
		random.Read(bytes)
		return bytes
	}
	for at := range bytes {
		bytes[at] = byte('a' + at%16)
	}
	return bytes
}

func size(random *rand.Rand) int {
	switch chance := random.Float64(); {
	case chance < 0.05:
		return 0
	case chance < 0.95:
		return random.Intn(200)
	case chance < 0.9997:
		return random.Intn(4096)
	case chance > 0.9999:
		return largest
	default:
		return random.Intn(largest)
	}
}

func record(topic string, random *rand.Rand) *kgo.Record {
	made := &kgo.Record{Topic: topic, Partition: int32(random.Intn(partitions))}
	if random.Intn(5) > 0 {
		made.Key = content(random, random.Intn(40))
	}
	if random.Intn(10) > 0 {
		made.Value = content(random, size(random))
	}
	for left := []int{0, 0, 0, 1, 2, 5}[random.Intn(6)]; left > 0; left-- {
		// Few names, so that they repeat within a record.
		header := kgo.RecordHeader{Key: []string{"trace", "příznak", ""}[random.Intn(3)]}
		if random.Intn(3) > 0 {
			header.Value = content(random, random.Intn(30))
		}
		made.Headers = append(made.Headers, header)
	}
	now := time.Now()
	switch random.Intn(4) {
	case 0:
		made.Timestamp = time.UnixMilli(1)
	case 1:
		made.Timestamp = time.UnixMilli(now.UnixMilli() - random.Int63n(1_000_000_000))
	case 2:
		made.Timestamp = now
	}
	return made
}

func produce(address, topic, state string, count int, mode string) error {
	if err := create(address, topic); err != nil {
		return err
	}
	random := rand.New(rand.NewSource(int64(len(topic))))
	codecs := []kgo.CompressionCodec{
		kgo.NoCompression(), kgo.GzipCompression(), kgo.SnappyCompression(),
		kgo.Lz4Compression(), kgo.ZstdCompression(),
	}
	var lines []string
	var failure error
	var lock sync.Mutex
	for _, codec := range codecs {
		options := []kgo.Opt{
			kgo.SeedBrokers(address),
			kgo.RecordPartitioner(kgo.ManualPartitioner()),
			kgo.ProducerBatchCompression(codec),
			kgo.ProducerBatchMaxBytes(1 << 20),
		}
		if mode == "plain" {
			options = append(options, kgo.DisableIdempotentWrite(), kgo.RequiredAcks(kgo.LeaderAck()))
		}
		client, err := kgo.NewClient(options...)
		if err != nil {
			return err
		}
		for left := count / len(codecs); left > 0; left-- {
			client.Produce(context.Background(), record(topic, random), func(r *kgo.Record, err error) {
				lock.Lock()
				defer lock.Unlock()
				if err != nil {
					failure = err
					return
				}
				told := digest(r.Timestamp.UnixMilli(), r.Key, r.Value, r.Headers)
				lines = append(lines, fmt.Sprintf("%d %d %s", r.Partition, r.Offset, told))
			})
		}
		flushing, cancel := context.WithTimeout(context.Background(), deadline)
		err = client.Flush(flushing)
		cancel()
		client.Close()
		if err != nil {
			return err
		}
	}
	if failure != nil {
		return failure
	}
	fmt.Println(len(lines), "records")
	return os.WriteFile(state, []byte(strings.Join(lines, "\n")+"\n"), 0o644)
}

func create(address, topic string) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(address))
	if err != nil {
		return err
	}
	defer client.Close()
	wanted := kmsg.NewCreateTopicsRequestTopic()
	wanted.Topic, wanted.NumPartitions, wanted.ReplicationFactor = topic, partitions, 1
	config := kmsg.NewCreateTopicsRequestTopicConfig()
	config.Name, config.Value = "retention.ms", kmsg.StringPtr("-1")
	wanted.Configs = append(wanted.Configs, config)
	request := kmsg.NewPtrCreateTopicsRequest()
	request.Topics, request.TimeoutMillis = append(request.Topics, wanted), 10_000
	response, err := request.RequestWith(context.Background(), client)
	if err != nil {
		return err
	}
	return kerr.ErrorForCode(response.Topics[0].ErrorCode)
}

// Members of one group in this process, and what they have read.
type group struct {
	address, topic, name, found string

	lock     sync.Mutex
	seen     map[string]string
	repeated int
	slow     atomic.Bool
}

func newGroup(address, topic, name, found string) *group {
	made := &group{address: address, topic: topic, name: name, found: found, seen: map[string]string{}}
	if file, err := os.Open(found); err == nil {
		for lines := bufio.NewScanner(file); lines.Scan(); {
			line := lines.Text()
			end := strings.LastIndexByte(line, ' ')
			made.seen[line[:end]] = line[end+1:]
		}
		file.Close()
	}
	return made
}

func (g *group) count() int {
	g.lock.Lock()
	defer g.lock.Unlock()
	return len(g.seen)
}

func (g *group) run(until int) error {
	before := g.count()
	first := g.start()
	if err := await("a quarter", func() bool { return g.count() >= before+(until-before)/4 }, first); err != nil {
		return err
	}
	g.slow.Store(true)
	second := g.start()
	halves := func() bool {
		return first.share.Load() == partitions/2 && second.share.Load() == partitions/2
	}
	if err := await("a share for the second member", halves, first, second); err != nil {
		return err
	}
	g.slow.Store(false)
	if err := await("half", func() bool { return g.count() >= before+(until-before)/2 }, first, second); err != nil {
		return err
	}
	g.slow.Store(true)
	if err := second.finish(); err != nil {
		return err
	}
	whole := func() bool { return first.share.Load() == partitions }
	if err := await("all partitions for the first again", whole, first); err != nil {
		return err
	}
	atLast := g.count()
	g.slow.Store(false)
	if err := await("all", func() bool { return g.count() >= until }, first); err != nil {
		return err
	}
	if err := first.finish(); err != nil {
		return err
	}
	out := strings.Builder{}
	for place, told := range g.seen {
		fmt.Fprintf(&out, "%s %s\n", place, told)
	}
	fmt.Printf("%d records, %d repeated, %d after the last rebalance\n", len(g.seen), g.repeated, until-atLast)
	return os.WriteFile(g.found, []byte(out.String()), 0o644)
}

func await(what string, holds func() bool, members ...*member) error {
	for end := time.Now().Add(deadline); !holds(); time.Sleep(5 * time.Millisecond) {
		for _, one := range members {
			if err := one.failure(); err != nil {
				return fmt.Errorf("waiting for %s: %w", what, err)
			}
		}
		if time.Now().After(end) {
			return errors.New("no " + what)
		}
	}
	return nil
}

type member struct {
	share  atomic.Int32
	done   atomic.Bool
	ended  chan struct{}
	failed atomic.Pointer[error]
}

func (m *member) failure() error {
	if err := m.failed.Load(); err != nil {
		return *err
	}
	return nil
}

func (m *member) finish() error {
	m.done.Store(true)
	<-m.ended
	return m.failure()
}

func (g *group) start() *member {
	made := &member{ended: make(chan struct{})}
	go func() {
		defer close(made.ended)
		if err := g.consume(made); err != nil {
			made.failed.Store(&err)
		}
	}()
	return made
}

func (g *group) consume(m *member) error {
	sum := func(topics map[string][]int32) int32 { return int32(len(topics[g.topic])) }
	client, err := kgo.NewClient(
		kgo.SeedBrokers(g.address),
		kgo.ConsumerGroup(g.name),
		kgo.ConsumeTopics(g.topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.HeartbeatInterval(300*time.Millisecond),
		kgo.DisableAutoCommit(),
		kgo.BlockRebalanceOnPoll(),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, topics map[string][]int32) {
			m.share.Add(sum(topics))
		}),
		kgo.OnPartitionsRevoked(func(ctx context.Context, client *kgo.Client, topics map[string][]int32) {
			if err := client.CommitUncommittedOffsets(ctx); err != nil {
				m.failed.Store(&err)
			}
			m.share.Add(-sum(topics))
		}),
		kgo.OnPartitionsLost(func(_ context.Context, _ *kgo.Client, topics map[string][]int32) {
			m.share.Add(-sum(topics))
		}),
	)
	if err != nil {
		return err
	}
	defer client.Close()
	for !m.done.Load() {
		polling, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		fetches := client.PollRecords(polling, 200)
		cancel()
		for _, failed := range fetches.Errors() {
			if !errors.Is(failed.Err, context.DeadlineExceeded) {
				return failed.Err
			}
		}
		var differing error
		fetches.EachRecord(func(r *kgo.Record) { differing = errors.Join(differing, g.note(r)) })
		if differing != nil {
			return differing
		}
		if g.slow.Load() {
			if err := client.CommitUncommittedOffsets(context.Background()); err != nil {
				return err
			}
			client.AllowRebalance()
			time.Sleep(100 * time.Millisecond)
		}
		client.AllowRebalance()
	}
	return client.CommitUncommittedOffsets(context.Background())
}

func (g *group) note(r *kgo.Record) error {
	place := fmt.Sprintf("%d %d", r.Partition, r.Offset)
	told := digest(r.Timestamp.UnixMilli(), r.Key, r.Value, r.Headers)
	g.lock.Lock()
	defer g.lock.Unlock()
	if before, known := g.seen[place]; known {
		g.repeated++
		if before != told {
			return errors.New("read twice, differently: " + place)
		}
	}
	g.seen[place] = told
	return nil
}

// Begins in the middle of a partition, at its start by time, and at its start because the offset
// asked for is out of range.
func seek(address, topic string) error {
	starts := map[string]kgo.Offset{
		"middle": kgo.NewOffset().At(1000),
		"time":   kgo.NewOffset().AfterMilli(0),
		"reset":  kgo.NewOffset().At(1_000_000_000),
	}
	for what, start := range starts {
		for index := int32(0); index < partitions; index++ {
			client, err := kgo.NewClient(
				kgo.SeedBrokers(address),
				kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {index: start}}),
				kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
			)
			if err != nil {
				return err
			}
			polling, cancel := context.WithTimeout(context.Background(), deadline)
			records := client.PollRecords(polling, 1).Records()
			cancel()
			client.Close()
			wanted := map[string]int64{"middle": 1000}[what]
			if len(records) == 0 || records[0].Offset != wanted {
				return fmt.Errorf("%s of %d: wanted %d, got %v", what, index, wanted, records)
			}
		}
	}
	fmt.Println("sought")
	return nil
}
