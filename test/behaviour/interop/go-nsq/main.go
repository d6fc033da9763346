// Publishes and consumes through go-nsq; see test/behaviour/interop/support/suite.ts for the acts and their reports, and
// test/behaviour/discovery/support/follower.ts for the act follow.
package main

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"log"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nsqio/go-nsq"
)

type delivery struct {
	attempts uint16
	at       time.Time
}

type deliveries []delivery

func (d deliveries) attempts() []uint16 {
	list := []uint16{}
	for _, one := range d {
		list = append(list, one.attempts)
	}
	return list
}

func (d deliveries) gapMs() int64 {
	if len(d) < 2 {
		return -1
	}
	return d[1].at.Sub(d[0].at).Milliseconds()
}

func number(text string) int {
	n, err := strconv.Atoi(text)
	must(err)
	return n
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// newConfig has the settings that the environment names, by go-nsq's own names.
func newConfig() *nsq.Config {
	config := nsq.NewConfig()
	options := map[string]any{}
	if text := os.Getenv("CLIENT_OPTIONS"); text != "" {
		must(json.Unmarshal([]byte(text), &options))
	}
	for name, value := range options {
		must(config.Set(name, value))
	}
	if text := os.Getenv("BUNSQ_TRANSPORT"); text != "" {
		putLayers(config, text)
	}
	return config
}

// See test/behaviour/interop/support/transport.ts.
func putLayers(config *nsq.Config, text string) {
	var transport struct{ Ca, Cert, Key, Compression string }
	must(json.Unmarshal([]byte(text), &transport))
	if transport.Ca != "" {
		pem, err := os.ReadFile(transport.Ca)
		must(err)
		config.TlsV1 = true
		config.TlsConfig = &tls.Config{RootCAs: x509.NewCertPool()}
		config.TlsConfig.RootCAs.AppendCertsFromPEM(pem)
		if transport.Cert != "" {
			pair, err := tls.LoadX509KeyPair(transport.Cert, transport.Key)
			must(err)
			config.TlsConfig.Certificates = []tls.Certificate{pair}
		}
	}
	config.Snappy = transport.Compression == "snappy"
	config.Deflate = transport.Compression == "deflate"
}

// Bodies as test/behaviour/interop/support/transport.ts has them.
func body(i int) []byte {
	return []byte(strconv.Itoa(i) + " " + strings.Repeat("abcdefghijklmnopqrstuvwxyz0123456789", 7)[:(i*7)%251])
}

func carry(address, topic string, count int) any {
	var mutex sync.Mutex
	bodies := make([][]byte, count)
	received := 0
	all := make(chan bool)
	config := newConfig()
	config.MaxInFlight = 2500
	consumer := openConsumer(address, topic, config, nsq.HandlerFunc(func(message *nsq.Message) error {
		mutex.Lock()
		defer mutex.Unlock()
		bodies[number(string(message.Body[:bytes.IndexByte(message.Body, ' ')]))] = message.Body
		received++
		if received == count {
			close(all)
		}
		return nil
	}), 2)
	producer := openProducer(address)
	singles := min(500, count)
	done := make(chan *nsq.ProducerTransaction, singles)
	for i := 0; i < singles; i++ {
		must(producer.PublishAsync(topic, body(i), done))
	}
	for i := 0; i < singles; i++ {
		must((<-done).Error)
	}
	for from := singles; from < count; from += 500 {
		batch := [][]byte{}
		for i := from; i < from+500 && i < count; i++ {
			batch = append(batch, body(i))
		}
		must(producer.MultiPublish(topic, batch))
	}
	<-all
	closeBoth(consumer, producer)
	mutex.Lock()
	defer mutex.Unlock()
	hash := sha256.Sum256(bytes.Join(bodies, nil))
	return map[string]any{"received": received, "sha256": hex.EncodeToString(hash[:])}
}

func openProducer(address string) *nsq.Producer {
	producer, err := nsq.NewProducer(address, newConfig())
	must(err)
	producer.SetLogger(log.Default(), nsq.LogLevelWarning)
	must(producer.Ping())
	return producer
}

func openConsumer(address, topic string, config *nsq.Config, handler nsq.Handler, concurrency int) *nsq.Consumer {
	consumer, err := nsq.NewConsumer(topic, "ch", config)
	must(err)
	consumer.SetLogger(log.Default(), nsq.LogLevelWarning)
	consumer.AddConcurrentHandlers(handler, concurrency)
	must(consumer.ConnectToNSQD(address))
	return consumer
}

func closeBoth(consumer *nsq.Consumer, producer *nsq.Producer) {
	consumer.Stop()
	<-consumer.StopChan
	producer.Stop()
}

func flood(address, topic string, count int) any {
	var mutex sync.Mutex
	times := make([]int, count)
	received, attemptsAboveOne := 0, 0
	all := make(chan bool)
	config := newConfig()
	config.MaxInFlight = 2500
	handler := nsq.HandlerFunc(func(message *nsq.Message) error {
		mutex.Lock()
		defer mutex.Unlock()
		times[number(string(message.Body))]++
		if message.Attempts != 1 {
			attemptsAboveOne++
		}
		received++
		if received == count {
			close(all)
		}
		return nil
	})
	consumer := openConsumer(address, topic, config, handler, 2)
	producer := openProducer(address)

	singles := count / 10
	done := make(chan *nsq.ProducerTransaction, singles)
	for i := 0; i < singles; i++ {
		must(producer.PublishAsync(topic, []byte(strconv.Itoa(i)), done))
	}
	for i := 0; i < singles; i++ {
		must((<-done).Error)
	}
	for from := singles; from < count; from += 300 {
		bodies := [][]byte{}
		for i := from; i < from+300 && i < count; i++ {
			bodies = append(bodies, []byte(strconv.Itoa(i)))
		}
		must(producer.MultiPublish(topic, bodies))
	}
	<-all
	closeBoth(consumer, producer)

	mutex.Lock()
	defer mutex.Unlock()
	missing, repeated := 0, 0
	for _, n := range times {
		if n == 0 {
			missing++
		}
		if n > 1 {
			repeated++
		}
	}
	return map[string]int{"published": count, "received": received, "missing": missing, "repeated": repeated, "attemptsAboveOne": attemptsAboveOne}
}

func care(address, topic string, requeueDelay, msgTimeout time.Duration) any {
	var mutex sync.Mutex
	seen := map[string]deliveries{}
	var late *nsq.Message
	var waiting sync.WaitGroup
	waiting.Add(3)
	config := newConfig()
	config.MaxInFlight = 10
	config.MsgTimeout = msgTimeout
	handler := nsq.HandlerFunc(func(message *nsq.Message) error {
		message.DisableAutoResponse()
		what := string(message.Body)
		mutex.Lock()
		seen[what] = append(seen[what], delivery{message.Attempts, time.Now()})
		mutex.Unlock()
		switch {
		case what == "touch":
			for i := 0; i < 4; i++ {
				time.Sleep(msgTimeout / 2)
				message.Touch()
			}
			message.Finish()
			waiting.Done()
		case message.Attempts > 1:
			message.Finish()
			if what == "timeout" {
				// The broker refuses it; go-nsq counts it, and without that Stop would wait 30 s for this delivery.
				late.Finish()
			}
			waiting.Done()
		case what == "requeue":
			message.RequeueWithoutBackoff(requeueDelay)
		default:
			late = message
		}
		return nil
	})
	consumer := openConsumer(address, topic, config, handler, 3)
	producer := openProducer(address)
	for _, what := range []string{"requeue", "touch", "timeout"} {
		must(producer.Publish(topic, []byte(what)))
	}
	waiting.Wait()
	closeBoth(consumer, producer)
	return map[string]any{
		"requeue": map[string]any{"attempts": seen["requeue"].attempts(), "gapMs": seen["requeue"].gapMs()},
		"touch":   map[string]any{"attempts": seen["touch"].attempts()},
		"timeout": map[string]any{"attempts": seen["timeout"].attempts(), "gapMs": seen["timeout"].gapMs()},
	}
}

func follow(lookups []string, topic, channel string) {
	config := nsq.NewConfig()
	config.MaxInFlight = 200
	config.MaxAttempts = 0
	config.LookupdPollInterval = time.Second
	config.LookupdPollTimeout = time.Second
	config.HeartbeatInterval = time.Second
	config.ReadTimeout = 3 * time.Second
	consumer, err := nsq.NewConsumer(topic, channel, config)
	must(err)
	consumer.SetLogger(log.Default(), nsq.LogLevelWarning)
	consumer.AddHandler(nsq.HandlerFunc(func(message *nsq.Message) error {
		_, err := os.Stdout.Write(append(message.Body, '\n'))
		return err
	}))
	must(consumer.ConnectToNSQLookupds(lookups))
	select {}
}

func main() {
	address, topic, act := os.Args[1], os.Args[2], os.Args[3]
	if act == "follow" {
		follow(strings.Split(address, ","), topic, os.Args[4])
	}
	var report any
	if act == "flood" {
		report = flood(address, topic, number(os.Args[4]))
	} else if act == "carry" {
		report = carry(address, topic, number(os.Args[4]))
	} else {
		report = care(address, topic, time.Duration(number(os.Args[4]))*time.Millisecond, time.Duration(number(os.Args[5]))*time.Millisecond)
	}
	must(json.NewEncoder(os.Stdout).Encode(report))
}
