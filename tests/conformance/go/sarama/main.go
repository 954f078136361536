// Sarama through a whole round: `sarama ADDRESS TOPIC` creates the topic, writes keyed records with
// snappy, reads them as a group, commits, and finds that what it committed are the ends.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/IBM/sarama"
)

const (
	records  = 2000
	deadline = 60 * time.Second
	group    = "smoke-sarama"
)

func main() {
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(records, "records")
}

func run(address, topic string) error {
	config := sarama.NewConfig()
	config.Producer.RequiredAcks = sarama.WaitForAll
	config.Producer.Compression = sarama.CompressionSnappy
	config.Producer.Return.Successes = true
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	config.Consumer.Offsets.AutoCommit.Enable = false
	client, err := sarama.NewClient([]string{address}, config)
	if err != nil {
		return err
	}
	defer client.Close()
	admin, err := sarama.NewClusterAdminFromClient(client)
	if err != nil {
		return err
	}
	detail := &sarama.TopicDetail{NumPartitions: 3, ReplicationFactor: 1}
	if err := admin.CreateTopic(topic, detail, false); err != nil {
		return err
	}
	producer, err := sarama.NewSyncProducerFromClient(client)
	if err != nil {
		return err
	}
	written := map[string]string{}
	var batch []*sarama.ProducerMessage
	for index := range records {
		batch = append(batch, &sarama.ProducerMessage{
			Topic:   topic,
			Key:     sarama.StringEncoder(fmt.Sprintf("key-%d", index%7)),
			Value:   sarama.StringEncoder(fmt.Sprintf("value %d", index)),
			Headers: []sarama.RecordHeader{{Key: []byte("h"), Value: []byte("1")}},
		})
	}
	if err := producer.SendMessages(batch); err != nil {
		return err
	}
	for _, message := range batch {
		value, _ := message.Value.Encode()
		written[fmt.Sprintf("%d@%d", message.Partition, message.Offset)] = string(value)
	}
	members, err := sarama.NewConsumerGroupFromClient(group, client)
	if err != nil {
		return err
	}
	reader := &reader{wanted: written, done: make(chan error, 1)}
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- members.Consume(ctx, []string{topic}, reader) }()
	select {
	case err = <-reader.done:
	case err = <-ended:
		err = errors.Join(errors.New("the group ended"), err)
	case <-ctx.Done():
		err = errors.New("not everything was read in time")
	}
	if err != nil {
		return err
	}
	cancel()
	<-ended
	if err := members.Close(); err != nil && !errors.Is(err, sarama.ErrClosedClient) {
		return err
	}
	return committed(address, topic, config)
}

// committed checks that the group's offsets are the ends of the partitions.
func committed(address, topic string, config *sarama.Config) error {
	client, err := sarama.NewClient([]string{address}, config)
	if err != nil {
		return err
	}
	defer client.Close()
	admin, err := sarama.NewClusterAdminFromClient(client)
	if err != nil {
		return err
	}
	offsets, err := admin.ListConsumerGroupOffsets(group, map[string][]int32{topic: {0, 1, 2}})
	if err != nil {
		return err
	}
	for partition := range int32(3) {
		end, err := client.GetOffset(topic, partition, sarama.OffsetNewest)
		if err != nil {
			return err
		}
		// -1 where nothing was read, because there is nothing.
		if offset := offsets.GetBlock(topic, partition).Offset; max(offset, 0) != end {
			return fmt.Errorf("committed %d in partition %d, the end is %d", offset, partition, end)
		}
	}
	return nil
}

type reader struct {
	wanted map[string]string
	read   chan *sarama.ConsumerMessage
	done   chan error
}

func (r *reader) Setup(sarama.ConsumerGroupSession) error {
	r.read = make(chan *sarama.ConsumerMessage)
	return nil
}

func (r *reader) Cleanup(sarama.ConsumerGroupSession) error { return nil }

// ConsumeClaim runs once for each partition; the one that reads the last record commits for all.
func (r *reader) ConsumeClaim(
	session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim,
) error {
	go func() {
		for message := range claim.Messages() {
			select {
			case r.read <- message:
			case <-session.Context().Done():
				return
			}
		}
	}()
	if claim.Partition() != 0 {
		<-session.Context().Done()
		return nil
	}
	found := map[string]string{}
	for len(found) < len(r.wanted) {
		select {
		case message := <-r.read:
			found[fmt.Sprintf("%d@%d", message.Partition, message.Offset)] = string(message.Value)
			session.MarkMessage(message, "")
		case <-session.Context().Done():
			return nil
		}
	}
	for place, value := range r.wanted {
		if found[place] != value {
			r.done <- fmt.Errorf("%s: wrote %q, read %q", place, value, found[place])
			return nil
		}
	}
	session.Commit()
	r.done <- nil
	<-session.Context().Done()
	return nil
}
