// sarama: the oldest Go client; it picks API versions from a configured Kafka version instead of asking.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"conformance/wire"

	"github.com/IBM/sarama"
)

var bootstrap = []string{os.Args[1]}

func settings() *sarama.Config {
	config := sarama.NewConfig()
	config.Version = sarama.MaxVersion
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	config.Consumer.Offsets.AutoCommit.Enable = false
	config.Consumer.MaxWaitTime = 100 * time.Millisecond
	config.Consumer.Return.Errors = true
	config.Producer.RequiredAcks = sarama.WaitForAll
	config.Producer.Return.Successes = true
	config.Producer.Flush.Frequency = 20 * time.Millisecond
	config.Metadata.Retry.Max = 2
	config.Metadata.AllowAutoTopicCreation = false
	return config
}

func codecOf(name string) sarama.CompressionCodec {
	return map[string]sarama.CompressionCodec{
		"none": sarama.CompressionNone, "gzip": sarama.CompressionGZIP, "snappy": sarama.CompressionSnappy,
		"lz4": sarama.CompressionLZ4, "zstd": sarama.CompressionZSTD,
	}[name]
}

// A nil encoder is a null; an empty one is empty.
func encoder(data []byte) sarama.Encoder {
	if data == nil {
		return nil
	}
	return sarama.ByteEncoder(data)
}

func produce(command *wire.Command) (wire.Reply, error) {
	config := settings()
	config.Producer.Compression = codecOf(command.Codec)
	config.Metadata.AllowAutoTopicCreation = true
	if command.Idempotent {
		config.Producer.Idempotent = true
		config.Net.MaxOpenRequests = 1
	}
	if command.Partition >= 0 {
		config.Producer.Partitioner = sarama.NewManualPartitioner
	}
	if command.RequestBytesMax > 0 {
		config.Producer.MaxMessageBytes = int(command.RequestBytesMax)
	}
	producer, err := sarama.NewSyncProducer(bootstrap, config)
	if err != nil {
		return nil, err
	}
	defer producer.Close()
	messages := make([]*sarama.ProducerMessage, 0, len(command.Records))
	for _, from := range command.Records {
		message := &sarama.ProducerMessage{
			Topic: command.Topic, Partition: command.Partition, Key: encoder(from.Key), Value: encoder(from.Value),
		}
		for _, header := range from.Headers {
			pair := sarama.RecordHeader{Key: []byte(header.Name), Value: header.Value}
			message.Headers = append(message.Headers, pair)
		}
		if from.Timestamp != nil {
			message.Timestamp = time.UnixMilli(*from.Timestamp)
		}
		messages = append(messages, message)
	}
	if err := producer.SendMessages(messages); err != nil {
		var failures sarama.ProducerErrors
		if errors.As(err, &failures) {
			return nil, failures[0].Err
		}
		return nil, err
	}
	offsets := []int64{}
	for _, message := range messages {
		offsets = append(offsets, message.Offset)
	}
	slices.Sort(offsets)
	return wire.Reply{"offsets": offsets}, nil
}

func stream(command *wire.Command) (wire.Reply, error) {
	config := settings()
	config.Producer.Idempotent = true
	config.Net.MaxOpenRequests = 1
	config.Producer.Partitioner = sarama.NewManualPartitioner
	config.Producer.Flush.Frequency = 0
	config.Producer.Flush.MaxMessages = 20
	config.Producer.Retry.Max = 1000
	config.Metadata.Retry.Max = 1000
	producer, err := sarama.NewAsyncProducer(bootstrap, config)
	if err != nil {
		return nil, err
	}
	acked, failed, read := atomic.Int64{}, []int{}, sync.WaitGroup{}
	read.Add(2)
	go func() {
		defer read.Done()
		for range producer.Successes() {
			acked.Add(1)
		}
	}()
	go func() {
		defer read.Done()
		for failure := range producer.Errors() {
			failed = append(failed, failure.Msg.Metadata.(int))
			fmt.Fprintln(os.Stderr, failure.Msg.Metadata, failure.Err)
		}
	}()
	sent := command.Stream(func(number int, value []byte) {
		producer.Input() <- &sarama.ProducerMessage{
			Topic: command.Topic, Partition: command.Partition, Value: sarama.ByteEncoder(value), Metadata: number,
		}
	})
	// A close gives up what is about to be sent again.
	for deadline := time.Now().Add(time.Minute); acked.Load() < int64(sent) && time.Now().Before(deadline); {
		time.Sleep(10 * time.Millisecond)
	}
	producer.AsyncClose()
	read.Wait()
	return wire.Reply{"sent": sent, "acked": acked.Load(), "failed": failed}, nil
}

func recordOf(from *sarama.ConsumerMessage) wire.Record {
	timestamp := from.Timestamp.UnixMilli()
	record := wire.Record{
		Partition: from.Partition, Offset: from.Offset, Key: from.Key, Value: from.Value,
		Headers: []wire.Header{}, Timestamp: &timestamp,
	}
	for _, header := range from.Headers {
		record.Headers = append(record.Headers, wire.Header{Name: string(header.Key), Value: header.Value})
	}
	return record
}

func consume(command *wire.Command) (wire.Reply, error) {
	consumer, err := sarama.NewConsumer(bootstrap, settings())
	if err != nil {
		return nil, err
	}
	defer consumer.Close()
	partition, err := consumer.ConsumePartition(command.Topic, command.Partition, command.Offset)
	if err != nil {
		return nil, err
	}
	defer partition.Close()
	records := []wire.Record{}
	timeout := time.After(wire.Timeout)
	for len(records) < command.Count {
		select {
		case message := <-partition.Messages():
			records = append(records, recordOf(message))
		case failure := <-partition.Errors():
			return nil, failure
		case <-timeout:
			return wire.Reply{"records": records}, nil
		}
	}
	return wire.Reply{"records": records}, nil
}

// member reads until it has enough, then commits and ends the session.
type member struct {
	count   int
	records []wire.Record
	done    context.CancelFunc
}

func (*member) Setup(sarama.ConsumerGroupSession) error   { return nil }
func (*member) Cleanup(sarama.ConsumerGroupSession) error { return nil }

func (m *member) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for {
		select {
		case message, open := <-claim.Messages():
			if !open {
				return nil
			}
			m.records = append(m.records, recordOf(message))
			session.MarkMessage(message, "")
			if len(m.records) >= m.count {
				session.Commit()
				m.done()
				return nil
			}
		case <-session.Context().Done():
			return nil
		}
	}
}

func group(command *wire.Command) (wire.Reply, error) {
	consumers, err := sarama.NewConsumerGroup(bootstrap, command.Group, settings())
	if err != nil {
		return nil, err
	}
	defer consumers.Close()
	ctx, cancel := context.WithTimeout(context.Background(), wire.Timeout)
	defer cancel()
	reader := &member{count: command.Count, records: []wire.Record{}, done: cancel}
	for ctx.Err() == nil {
		if err := consumers.Consume(ctx, []string{command.Topic}, reader); err != nil {
			return nil, err
		}
	}
	select {
	case failure := <-consumers.Errors():
		return nil, failure
	default:
		return wire.Reply{"records": reader.records}, nil
	}
}

func offset(command *wire.Command) (wire.Reply, error) {
	client, err := sarama.NewClient(bootstrap, settings())
	if err != nil {
		return nil, err
	}
	defer client.Close()
	found, err := client.GetOffset(command.Topic, command.Partition, command.At)
	return wire.Reply{"offset": found}, err
}

func withAdmin(work func(sarama.ClusterAdmin) (wire.Reply, error)) (wire.Reply, error) {
	admin, err := sarama.NewClusterAdmin(bootstrap, settings())
	if err != nil {
		return nil, err
	}
	defer admin.Close()
	return work(admin)
}

func create(command *wire.Command) (wire.Reply, error) {
	return withAdmin(func(admin sarama.ClusterAdmin) (wire.Reply, error) {
		configs := map[string]*string{}
		for name, value := range command.Configs {
			configs[name] = &value
		}
		detail := &sarama.TopicDetail{NumPartitions: command.Partitions, ReplicationFactor: 1, ConfigEntries: configs}
		return wire.Reply{}, admin.CreateTopic(command.Topic, detail, false)
	})
}

func remove(command *wire.Command) (wire.Reply, error) {
	return withAdmin(func(admin sarama.ClusterAdmin) (wire.Reply, error) {
		return wire.Reply{}, admin.DeleteTopic(command.Topic)
	})
}

func addPartitions(command *wire.Command) (wire.Reply, error) {
	return withAdmin(func(admin sarama.ClusterAdmin) (wire.Reply, error) {
		return wire.Reply{}, admin.CreatePartitions(command.Topic, command.Total, nil, false)
	})
}

func partitions(command *wire.Command) (wire.Reply, error) {
	return withAdmin(func(admin sarama.ClusterAdmin) (wire.Reply, error) {
		described, err := admin.DescribeTopics([]string{command.Topic})
		if err != nil {
			return nil, err
		}
		if described[0].Err != sarama.ErrNoError {
			return nil, described[0].Err
		}
		return wire.Reply{"partitions": len(described[0].Partitions)}, nil
	})
}

func topics(*wire.Command) (wire.Reply, error) {
	return withAdmin(func(admin sarama.ClusterAdmin) (wire.Reply, error) {
		listed, err := admin.ListTopics()
		names := []string{}
		for name := range listed {
			names = append(names, name)
		}
		return wire.Reply{"topics": names}, err
	})
}

func config(command *wire.Command) (wire.Reply, error) {
	return withAdmin(func(admin sarama.ClusterAdmin) (wire.Reply, error) {
		entries, err := admin.DescribeConfig(sarama.ConfigResource{
			Type: sarama.TopicResource, Name: command.Topic, ConfigNames: []string{command.Name},
		})
		for _, entry := range entries {
			if entry.Name == command.Name {
				return wire.Reply{"value": entry.Value}, nil
			}
		}
		return wire.Reply{"value": nil}, err
	})
}

func alter(command *wire.Command) (wire.Reply, error) {
	return withAdmin(func(admin sarama.ClusterAdmin) (wire.Reply, error) {
		entry := sarama.IncrementalAlterConfigsEntry{
			Operation: sarama.IncrementalAlterConfigsOperationSet, Value: &command.Value,
		}
		changes := map[string]sarama.IncrementalAlterConfigsEntry{command.Name: entry}
		return wire.Reply{}, admin.IncrementalAlterConfig(sarama.TopicResource, command.Topic, changes, false)
	})
}

func hello(*wire.Command) (wire.Reply, error) {
	return wire.Reply{"client": "sarama " + wire.Version("github.com/IBM/sarama"), "cannot": []string{}}, nil
}

func main() {
	wire.Serve(map[string]func(*wire.Command) (wire.Reply, error){
		"hello": hello, "produce": produce, "stream": stream, "consume": consume, "group": group, "offset": offset, "create": create,
		"delete": remove, "add-partitions": addPartitions, "partitions": partitions, "topics": topics,
		"config": config, "alter": alter,
	})
}
