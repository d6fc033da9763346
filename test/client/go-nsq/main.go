// Consumes with go-nsq: the handler fails for the body F. See test/client/go-nsq-parity.test.ts.
package main

import (
	"errors"
	"log"
	"os"
	"time"

	"github.com/nsqio/go-nsq"
)

func main() {
	config := nsq.NewConfig()
	config.MaxInFlight = 5
	config.MaxAttempts = 0
	config.DefaultRequeueDelay = 0
	config.BackoffMultiplier = 20 * time.Millisecond
	config.MaxBackoffDuration = 200 * time.Millisecond
	consumer, err := nsq.NewConsumer("t", "c", config)
	if err != nil {
		log.Fatal(err)
	}
	consumer.SetLogger(log.New(os.Stderr, "", 0), nsq.LogLevelError)
	consumer.AddHandler(nsq.HandlerFunc(func(message *nsq.Message) error {
		switch string(message.Body) {
		case "F":
			return errors.New("failed")
		case "R":
			message.RequeueWithoutBackoff(0)
		}
		return nil
	}))
	if err := consumer.ConnectToNSQD(os.Args[1]); err != nil {
		log.Fatal(err)
	}
	<-consumer.StopChan
}
