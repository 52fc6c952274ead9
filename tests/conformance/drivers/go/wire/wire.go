// Package wire is what the two Go drivers share: one JSON command per input line, one JSON reply per output line.
// The commands are in tests/conformance/README.md.
package wire

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"time"
)

// Timeout bounds every wait of a driver.
const Timeout = 20 * time.Second

// Header is a name and a value; JSON has it as a pair.
type Header struct {
	Name  string
	Value []byte
}

// UnmarshalJSON reads ["name", base64 or null].
func (h *Header) UnmarshalJSON(data []byte) error {
	return json.Unmarshal(data, &[]any{&h.Name, &h.Value})
}

// MarshalJSON writes ["name", base64 or null].
func (h Header) MarshalJSON() ([]byte, error) {
	return json.Marshal([]any{h.Name, h.Value})
}

// Record is a record as commands and replies carry it; nil means null.
type Record struct {
	Partition int32    `json:"p"`
	Offset    int64    `json:"o"`
	Key       []byte   `json:"k"`
	Value     []byte   `json:"v"`
	Headers   []Header `json:"h"`
	Timestamp *int64   `json:"t"`
}

// Command has the fields of all commands together.
type Command struct {
	Op              string            `json:"op"`
	Topic           string            `json:"topic"`
	Group           string            `json:"group"`
	Name            string            `json:"name"`
	Value           string            `json:"value"`
	Codec           string            `json:"codec"`
	Partition       int32             `json:"partition"`
	Partitions      int32             `json:"partitions"`
	Total           int32             `json:"total"`
	Count           int               `json:"count"`
	Offset          int64             `json:"offset"`
	At              int64             `json:"at"`
	Idempotent      bool              `json:"idempotent"`
	RequestBytesMax int32             `json:"request_bytes_max"`
	TimeoutSeconds  int               `json:"timeout_s"`
	Configs         map[string]string `json:"configs"`
	Records         []Record          `json:"records"`
	Until           string            `json:"until"`
	Burst           int               `json:"burst"`
}

// SendTimeout is the wanted limit on a produce command.
func (c *Command) SendTimeout() time.Duration {
	if c.TimeoutSeconds > 0 {
		return time.Duration(c.TimeoutSeconds) * time.Second
	}
	return Timeout
}

// Stream sends numbers, a burst every few milliseconds, until a file is there; returns how many.
func (c *Command) Stream(send func(number int, value []byte)) int {
	for sent := 0; ; time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(c.Until); err == nil {
			return sent
		}
		for range c.Burst {
			send(sent, strconv.AppendInt(nil, int64(sent), 10))
			sent++
		}
	}
}

// Reply is any JSON object.
type Reply map[string]any

// Ends returns, per partition, the offset behind the last record.
func Ends(records []Record) map[int32]int64 {
	ends := map[int32]int64{}
	for _, record := range records {
		ends[record.Partition] = record.Offset + 1
	}
	return ends
}

// Version tells which release of a module this binary was built with.
func Version(module string) string {
	info, _ := debug.ReadBuildInfo()
	for _, dependency := range info.Deps {
		if dependency.Path == module {
			return dependency.Version
		}
	}
	return "unknown"
}

// Serve runs until the end of input; operations by name, an error becomes an `error` reply.
func Serve(operations map[string]func(*Command) (Reply, error)) {
	input := bufio.NewReaderSize(os.Stdin, 1<<20)
	output := json.NewEncoder(os.Stdout)
	for {
		line, err := input.ReadBytes('\n')
		if err != nil {
			return
		}
		command := &Command{}
		reply := Reply{}
		if err = json.Unmarshal(line, command); err == nil {
			if operation, found := operations[command.Op]; found {
				reply, err = operation(command)
			} else {
				err = fmt.Errorf("no operation %q", command.Op)
			}
		}
		if err != nil {
			reply = Reply{"error": err.Error()}
		}
		if output.Encode(reply) != nil {
			return
		}
	}
}
