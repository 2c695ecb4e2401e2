// What franz-go does to a topic of four partitions that exists and is empty: `franz broker topic`.
// Prints one line of JSON, {"check": true, …}; ends with an error at the first thing that never comes true.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	partitions = 4
	ofEach     = 400 // records of each codec
	bound      = 2 * time.Minute
)

var (
	codecs = map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}
	verdict = map[string]bool{}
	broker  string
	topic   string
)

func main() {
	broker, topic = os.Args[1], os.Args[2]
	ctx, stop := context.WithTimeout(context.Background(), bound)
	defer stop()
	for name, codec := range codecs {
		produce(ctx, name, codec)
	}
	groups(ctx)
	admin(ctx)
	text, err := json.Marshal(verdict)
	must(err)
	fmt.Println(string(text))
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func client(more ...kgo.Opt) *kgo.Client {
	made, err := kgo.NewClient(append(more, kgo.SeedBrokers(broker))...)
	must(err)
	return made
}

// Small batches, several in flight, each record to the partition it names; offsets must follow the order of sending.
func produce(ctx context.Context, name string, codec kgo.CompressionCodec) {
	sender := client(kgo.ProducerBatchCompression(codec), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.MaxBufferedRecords(100), kgo.ProducerBatchMaxBytes(4096))
	defer sender.Close()
	var lock sync.Mutex
	last, ordered := map[int32]int64{}, true
	for number := range ofEach {
		record := &kgo.Record{
			Topic: topic, Partition: int32(number % partitions), Key: fmt.Appendf(nil, "%s %d", name, number),
			Value: make([]byte, 200), Timestamp: time.UnixMilli(int64(1_000_000 + number)),
			Headers: []kgo.RecordHeader{{Key: "twice", Value: []byte("1")}, {Key: "twice", Value: nil}},
		}
		sender.Produce(ctx, record, func(sent *kgo.Record, err error) {
			must(err)
			lock.Lock()
			defer lock.Unlock()
			before, known := last[sent.Partition]
			ordered = ordered && (!known || sent.Offset == before+1)
			last[sent.Partition] = sent.Offset
		})
	}
	must(sender.Flush(ctx))
	verdict["idempotent_"+name] = ordered && len(last) == partitions
}

// A member and the partitions that it has.
type member struct {
	*kgo.Client
	lock sync.Mutex
	has  map[int32]bool
	lost int
}

func join(ctx context.Context, group string, records chan<- *kgo.Record) *member {
	joined := &member{has: map[int32]bool{}}
	change := func(have bool) func(context.Context, *kgo.Client, map[string][]int32) {
		return func(_ context.Context, _ *kgo.Client, places map[string][]int32) {
			joined.lock.Lock()
			defer joined.lock.Unlock()
			for _, partition := range places[topic] {
				if have {
					joined.has[partition] = true
				} else {
					delete(joined.has, partition)
					joined.lost++
				}
			}
		}
	}
	joined.Client = client(kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.Balancers(kgo.CooperativeStickyBalancer()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DisableAutoCommit(), kgo.HeartbeatInterval(300*time.Millisecond),
		kgo.OnPartitionsAssigned(change(true)), kgo.OnPartitionsRevoked(change(false)))
	go func() {
		for {
			fetches := joined.PollFetches(ctx)
			if fetches.IsClientClosed() || ctx.Err() != nil {
				return
			}
			fetches.EachRecord(func(record *kgo.Record) { records <- record })
		}
	}()
	return joined
}

func (m *member) count() (has, lost int) {
	m.lock.Lock()
	defer m.lock.Unlock()
	return len(m.has), m.lost
}

func await(ctx context.Context, what string, check func() bool) {
	for !check() {
		if ctx.Err() != nil {
			log.Fatalf("never came true: %s", what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func groups(ctx context.Context) {
	group, records := topic+"-group", make(chan *kgo.Record, len(codecs)*ofEach*2)
	first := join(ctx, group, records)
	await(ctx, "all partitions for one", func() bool { has, _ := first.count(); return has == partitions })
	second := join(ctx, group, records)
	await(ctx, "half of them each", func() bool {
		one, _ := first.count()
		two, _ := second.count()
		return one == 2 && two == 2
	})
	_, lost := first.count()
	verdict["cooperative_keeps"] = lost == 2
	seen := map[string]*kgo.Record{}
	for len(seen) < len(codecs)*ofEach {
		select {
		case record := <-records:
			seen[string(record.Key)] = record
		case <-ctx.Done():
			log.Fatalf("%d records of %d", len(seen), len(codecs)*ofEach)
		}
	}
	ten := seen["zstd 10"]
	verdict["group_reads_all"] = ten.Partition == 2 && ten.Timestamp.UnixMilli() == 1_000_010 && len(ten.Headers) == 2 &&
		ten.Headers[1].Key == "twice" && len(ten.Headers[1].Value) == 0 && len(ten.Value) == 200

	_, generation := second.GroupMetadata()
	must(second.CommitRecords(ctx, ten))
	committed, known := second.CommittedOffsets()[topic][ten.Partition]
	verdict["commit"] = !known || committed.Offset == ten.Offset+1
	second.Close()
	await(ctx, "all partitions for who stays", func() bool { has, _ := first.count(); return has == partitions })
	_, later := first.GroupMetadata()
	verdict["generation_grows"] = later > generation && generation > 0
	first.Close()
}

func admin(ctx context.Context) {
	adm := kadm.NewClient(client())
	defer adm.Close()
	offset := func(listed kadm.ListedOffsets, err error) int64 {
		must(err)
		must(listed.Error())
		found, _ := listed.Lookup(topic, 1)
		return found.Offset
	}
	end := int64(len(codecs) * ofEach / partitions)
	verdict["list_offsets"] = offset(adm.ListStartOffsets(ctx, topic)) == 0 && offset(adm.ListEndOffsets(ctx, topic)) == end &&
		offset(adm.ListOffsetsAfterMilli(ctx, 1_000_010, topic)) == 3 &&
		offset(adm.ListMaxTimestampOffsets(ctx, topic)) == ofEach/partitions-1

	group := topic + "-by-hand"
	var at kadm.Offsets
	at.Add(kadm.Offset{Topic: topic, Partition: 1, At: 42, LeaderEpoch: -1, Metadata: "so far"})
	must(adm.CommitAllOffsets(ctx, group, at))
	fetched, err := adm.FetchOffsets(ctx, group)
	must(err)
	found, _ := fetched.Lookup(topic, 1)
	verdict["commit_metadata"] = found.At == 42 && found.Metadata == "so far" && len(fetched[topic]) == 1
	lags, err := adm.Lag(ctx, group)
	must(err)
	verdict["lag"] = lags[group].Lag[topic][1].Lag == end-42 && lags[group].State == "Empty"
	_, err = adm.DeleteGroup(ctx, group)
	must(err)
	listed, err := adm.ListGroups(ctx)
	must(err)
	_, left := listed[group]
	_, stays := listed[topic+"-group"]
	verdict["groups"] = !left && stays

	other := topic + "-other"
	retention := "1234567"
	_, err = adm.CreateTopic(ctx, 2, 1, map[string]*string{"retention.ms": &retention}, other)
	must(err)
	_, err = adm.CreateTopic(ctx, 2, 1, nil, other)
	verdict["topic_exists"] = err == kerr.TopicAlreadyExists
	await(ctx, "a new topic", func() bool { topics, err := adm.ListTopics(ctx, other); must(err); return topics.Has(other) })
	configs, err := adm.DescribeTopicConfigs(ctx, other)
	must(err)
	for _, config := range configs[0].Configs {
		if config.Key == "retention.ms" {
			verdict["configs"] = config.MaybeValue() == retention
		}
	}
	must(first(adm.UpdatePartitions(ctx, 3, other)).Error())
	topics, err := adm.ListTopics(ctx, topic)
	must(err)
	verdict["topic_id"] = topics[topic].ID != kadm.TopicID{} && len(topics[topic].Partitions) == partitions
	var before kadm.Offsets
	before.AddOffset(topic, 1, 9, -1)
	deleted, err := adm.DeleteRecords(ctx, before)
	must(err)
	verdict["delete_records"] = deleted[topic][1].LowWatermark == 9
	must(first(adm.DeleteTopics(ctx, other)).Error())
}

func first[T any](value T, err error) T {
	must(err)
	return value
}
