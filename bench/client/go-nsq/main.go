// go-nsq, for bench/client.ts; bench/client/job.ts describes the job and what is reported. Publishes are go-nsq's asynchronous
// ones with a channel for their answers, the counterpart of promises that are awaited together.
package main

import (
	"bytes"
	"encoding/json"
	"log"
	"os"
	"syscall"
	"time"

	"github.com/nsqio/go-nsq"
)

type job struct {
	Act         string
	Address     string
	Topic       string
	Channel     string
	Messages    int
	WarmUp      int
	BodyBytes   int
	Batch       int
	Outstanding int
	MaxInFlight int
}

type measurement struct {
	Seconds    float64 `json:"seconds"`
	CPUSeconds float64 `json:"cpuSeconds"`
}

type meter struct {
	begin time.Time
	cpu   time.Duration
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func cpuTime() time.Duration {
	var usage syscall.Rusage
	must(syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func (m *meter) start() {
	m.cpu = cpuTime()
	m.begin = time.Now()
}

func (m *meter) stop() measurement {
	return measurement{time.Since(m.begin).Seconds(), (cpuTime() - m.cpu).Seconds()}
}

func publishBatches(producer *nsq.Producer, j job, messages int) {
	bodies := make([][]byte, j.Batch)
	for i := range bodies {
		bodies[i] = bytes.Repeat([]byte("x"), j.BodyBytes)
	}
	done := make(chan *nsq.ProducerTransaction, j.Outstanding)
	unsent, unanswered := messages/j.Batch, 0
	for unsent > 0 || unanswered > 0 {
		for unsent > 0 && unanswered < j.Outstanding {
			must(producer.MultiPublishAsync(j.Topic, bodies, done))
			unsent--
			unanswered++
		}
		must((<-done).Error)
		unanswered--
	}
}

func publishSingles(producer *nsq.Producer, j job, messages int) {
	body := bytes.Repeat([]byte("x"), j.BodyBytes)
	done := make(chan *nsq.ProducerTransaction, j.Outstanding)
	for published := 0; published < messages; published += j.Outstanding {
		for i := 0; i < j.Outstanding; i++ {
			must(producer.PublishAsync(j.Topic, body, done))
		}
		for i := 0; i < j.Outstanding; i++ {
			must((<-done).Error)
		}
	}
}

func publish(j job) measurement {
	producer, err := nsq.NewProducer(j.Address, nsq.NewConfig())
	must(err)
	producer.SetLoggerLevel(nsq.LogLevelError)
	act := publishSingles
	if j.Act == "batches" {
		act = publishBatches
	}
	act(producer, j, j.WarmUp)
	m := meter{}
	m.start()
	act(producer, j, j.Messages)
	measured := m.stop()
	producer.Stop()
	return measured
}

func consume(j job) measurement {
	config := nsq.NewConfig()
	config.MaxInFlight = j.MaxInFlight
	consumer, err := nsq.NewConsumer(j.Topic, j.Channel, config)
	must(err)
	consumer.SetLoggerLevel(nsq.LogLevelError)
	m := meter{}
	received := 0
	all := make(chan measurement, 1)
	// One handler at a time, so received needs no lock.
	consumer.AddHandler(nsq.HandlerFunc(func(message *nsq.Message) error {
		if len(message.Body) != j.BodyBytes {
			log.Fatalf("a body of %d bytes", len(message.Body))
		}
		received++
		if received == j.WarmUp {
			m.start()
		}
		if received == j.WarmUp+j.Messages {
			all <- m.stop()
		}
		return nil
	}))
	must(consumer.ConnectToNSQD(j.Address))
	measured := <-all
	consumer.Stop()
	<-consumer.StopChan
	return measured
}

func main() {
	var j job
	must(json.Unmarshal([]byte(os.Args[1]), &j))
	act := publish
	if j.Act == "consume" {
		act = consume
	}
	must(json.NewEncoder(os.Stdout).Encode(act(j)))
}
