// The load driver: one foreign client (franz-go) for every broker that is compared, so that what
// differs is the broker.
//
//	driver COMMAND [FLAGS] ADDRESS TOPIC
//
// `create` and `delete` are about the topic; `ingest`, `replay` and `steady` are the workloads.
// A workload prints `begin` when all its clients are connected and `end` after the last record, and
// waits each time until a line (or the end) of its standard input lets it go on: what is measured
// from outside, CPU of the broker for one, is then of the load and of nothing else. Its last line
// is the result, in JSON.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// What the flags say; every workload uses its own part.
type load struct {
	address, topic string
	partitions     int
	records        int
	size           int
	producers      int
	consumers      int
	reading        time.Duration
	rate           int
}

// The last line of a workload. Bytes are of records' values, written or read.
type result struct {
	Records         int        `json:"records"`
	BytesIn         int64      `json:"bytes_in"`
	BytesOut        int64      `json:"bytes_out"`
	Seconds         float64    `json:"seconds"`
	CPUSeconds      float64    `json:"driver_cpu_seconds"`
	Errors          int64      `json:"errors"`
	Ack             *latencies `json:"ack_ms,omitempty"`
	EndToEnd        *latencies `json:"end_to_end_ms,omitempty"`
	MiBPerSecond    float64    `json:"mib_per_second"`
	RecordPerSecond float64    `json:"records_per_second"`
	Client          string     `json:"client"`
	Go              string     `json:"go"`
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "driver:", err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	if len(arguments) == 0 {
		return fmt.Errorf("usage: driver create|delete|ingest|replay|steady [FLAGS] ADDRESS TOPIC")
	}
	var l load
	var deadline time.Duration
	flags := flag.NewFlagSet(arguments[0], flag.ContinueOnError)
	flags.IntVar(&l.partitions, "partitions", 12, "partitions of the topic")
	flags.IntVar(&l.records, "records", 100_000, "records to write or read")
	flags.IntVar(&l.size, "size", 1024, "bytes of a record's value")
	flags.IntVar(&l.producers, "producers", 4, "connections that write")
	flags.IntVar(&l.consumers, "consumers", 2, "connections that read")
	flags.DurationVar(&l.reading, "reading", 10*time.Second, "how long replay reads")
	flags.IntVar(&l.rate, "rate", 2000, "records a second of steady")
	flags.DurationVar(&deadline, "deadline", 2*time.Minute, "end without a result after so long")
	if err := flags.Parse(arguments[1:]); err != nil {
		return err
	}
	if flags.NArg() != 2 {
		return fmt.Errorf("an address and a topic are needed, not %q", flags.Args())
	}
	l.address, l.topic = flags.Arg(0), flags.Arg(1)
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	// The collector's work is the driver's, and the cores are shared with the broker.
	debug.SetGCPercent(400)
	var found *result
	var err error
	switch arguments[0] {
	case "create":
		return l.create(ctx)
	case "delete":
		return l.delete(ctx)
	case "ingest":
		found, err = l.ingest(ctx)
	case "replay":
		found, err = l.replay(ctx)
	case "steady":
		found, err = l.steady(ctx)
	default:
		return fmt.Errorf("unknown command %s", arguments[0])
	}
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(found)
}

// The measured part: `body` between the two marks.
func measured(body func(start time.Time) error) (*result, error) {
	input := bufio.NewReader(os.Stdin)
	mark := func(word string) {
		fmt.Println(word)
		// An error is the end of the input: nobody measures from outside.
		_, _ = input.ReadString('\n')
	}
	mark("begin")
	cpu := cpuSeconds()
	start := time.Now()
	err := body(start)
	took := time.Since(start).Seconds()
	cpu = cpuSeconds() - cpu
	mark("end")
	r := &result{Seconds: took, CPUSeconds: cpu, Client: "franz-go"}
	if info, ok := debug.ReadBuildInfo(); ok {
		r.Go = info.GoVersion
		for _, module := range info.Deps {
			if module.Path == "github.com/twmb/franz-go" {
				r.Client += " " + module.Version
			}
		}
	}
	return r, err
}

func (r *result) finish() *result {
	r.MiBPerSecond = float64(max(r.BytesIn, r.BytesOut)) / r.Seconds / (1 << 20)
	r.RecordPerSecond = float64(r.Records) / r.Seconds
	return r
}

func cpuSeconds() float64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()).Seconds()
}

func (l *load) create(ctx context.Context) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(l.address))
	if err != nil {
		return err
	}
	defer client.Close()
	request := kmsg.NewPtrCreateTopicsRequest()
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = l.topic, int32(l.partitions), 1
	request.Topics = append(request.Topics, topic)
	response, err := request.RequestWith(ctx, client)
	if err != nil {
		return err
	}
	if err := kerr.ErrorForCode(response.Topics[0].ErrorCode); err != nil {
		return err
	}
	for !l.led(ctx, client) {
		select {
		case <-ctx.Done():
			return fmt.Errorf("partitions of %s without a leader: %w", l.topic, ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
	return nil
}

// Whether every partition has a leader.
func (l *load) led(ctx context.Context, client *kgo.Client) bool {
	request := kmsg.NewPtrMetadataRequest()
	topic := kmsg.NewMetadataRequestTopic()
	topic.Topic = &l.topic
	request.Topics = append(request.Topics, topic)
	response, err := request.RequestWith(ctx, client)
	if err != nil || response.Topics[0].ErrorCode != 0 {
		return false
	}
	led := 0
	for _, partition := range response.Topics[0].Partitions {
		if partition.ErrorCode == 0 && partition.Leader >= 0 {
			led++
		}
	}
	return led == l.partitions
}

func (l *load) delete(ctx context.Context) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(l.address))
	if err != nil {
		return err
	}
	defer client.Close()
	request := kmsg.NewPtrDeleteTopicsRequest()
	request.TopicNames = []string{l.topic}
	topic := kmsg.NewDeleteTopicsRequestTopic()
	topic.Topic = &l.topic
	request.Topics = append(request.Topics, topic)
	response, err := request.RequestWith(ctx, client)
	if err != nil {
		return err
	}
	return kerr.ErrorForCode(response.Topics[0].ErrorCode)
}
