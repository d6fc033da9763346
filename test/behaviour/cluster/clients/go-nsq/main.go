// Publishes and consumes through go-nsq; test/behaviour/cluster/clients/client-job.ts describes the job and what is printed.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"log"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nsqio/go-nsq"
)

type job struct {
	Act     string
	Brokers []string
	Lookups []string
	Topic   string
	Channel string
	Rate    int
	Batch   int
}

// How often a consumer prints what it has got.
const printedEach = 20 * time.Millisecond

var filler = strings.Repeat("the quick brown fox jumps over the lazy dog ", 8)

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func bodyOf(number int) []byte {
	covered := strconv.Itoa(number) + " " + filler[:60+number*7%240] + " "
	return []byte(covered + fmt.Sprintf("%08x", crc32.ChecksumIEEE([]byte(covered))))
}

// numberOf returns false for a body that is none of bodyOf.
func numberOf(body []byte) (int, bool) {
	if len(body) < 8 {
		return 0, false
	}
	covered := body[:len(body)-8]
	if fmt.Sprintf("%08x", crc32.ChecksumIEEE(covered)) != string(body[len(body)-8:]) {
		return 0, false
	}
	number, err := strconv.Atoi(string(covered[:strings.IndexByte(string(covered), ' ')]))
	return number, err == nil
}

func newConfig() *nsq.Config {
	config := nsq.NewConfig()
	config.DialTimeout = time.Second
	config.HeartbeatInterval = time.Second
	config.ReadTimeout = 3 * time.Second
	config.WriteTimeout = time.Second
	config.LookupdPollInterval = time.Second
	config.LookupdPollTimeout = time.Second
	config.MaxInFlight = 500
	config.MaxAttempts = 0
	return config
}

func newProducer(address string) *nsq.Producer {
	producer, err := nsq.NewProducer(address, newConfig())
	must(err)
	producer.SetLogger(log.Default(), nsq.LogLevelMax)
	return producer
}

func publish(j job, stopped *atomic.Bool) {
	pause := time.Second * time.Duration(j.Batch) / time.Duration(j.Rate)
	broker := 0
	producer := newProducer(j.Brokers[broker])
	due := time.Now()
	for first := 0; !stopped.Load(); first += j.Batch {
		bodies := make([][]byte, j.Batch)
		for i := range bodies {
			bodies[i] = bodyOf(first + i)
		}
		for {
			err := producer.MultiPublish(j.Topic, bodies)
			if err == nil {
				break
			}
			fmt.Printf("u %d %d\n! %s: %v\n", first, j.Batch, j.Brokers[broker], err)
			producer.Stop()
			broker = (broker + 1) % len(j.Brokers)
			producer = newProducer(j.Brokers[broker])
			time.Sleep(50 * time.Millisecond)
		}
		fmt.Printf("a %d %d\n", first, j.Batch)
		due = due.Add(pause)
		if wait := time.Until(due); wait > 0 {
			time.Sleep(wait)
		} else {
			due = time.Now()
		}
	}
	fmt.Println("s")
	select {}
}

func consume(j job) {
	var mutex sync.Mutex
	line := []byte{}
	consumer, err := nsq.NewConsumer(j.Topic, j.Channel, newConfig())
	must(err)
	consumer.SetLogger(log.Default(), nsq.LogLevelMax)
	consumer.AddHandler(nsq.HandlerFunc(func(message *nsq.Message) error {
		number, known := numberOf(message.Body)
		mutex.Lock()
		defer mutex.Unlock()
		if known {
			line = strconv.AppendInt(append(line, ' '), int64(number), 10)
		} else {
			fmt.Printf("x %s\n", message.Body)
		}
		return nil
	}))
	must(consumer.ConnectToNSQLookupds(j.Lookups))
	for range time.Tick(printedEach) {
		mutex.Lock()
		if len(line) > 0 {
			fmt.Printf("d %d%s\n", time.Now().UnixMilli(), line)
			line = line[:0]
		}
		mutex.Unlock()
	}
}

func main() {
	var j job
	must(json.Unmarshal([]byte(os.Args[1]), &j))
	var stopped atomic.Bool
	go func() {
		input := bufio.NewScanner(os.Stdin)
		for input.Scan() {
			stopped.Store(true)
		}
		os.Exit(0)
	}()
	if j.Act == "publish" {
		publish(j, &stopped)
	} else {
		consume(j)
	}
}
