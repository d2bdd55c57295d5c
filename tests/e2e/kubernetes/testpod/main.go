// Command testpod is what the pods of the cluster tests run: it serves its host name and how often it has
// been started on its volume (/data) at port 8080. Its image has no shell, so for kubectl exec it has commands:
//
//	testpod cat FILE
//	testpod get URL
//	testpod lookup HOST
//	testpod fill FILE     appends until there is no more space, and says how many bytes the file has then
package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const startsFile = "/data/starts"

func main() {
	if len(os.Args) > 1 {
		if err := command(os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	host, _ := os.Hostname()
	starts, err := countStart()
	fmt.Println("testpod", host, "start", starts, "volume error:", err)
	http.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, host, "start", starts) })
	fmt.Println(http.ListenAndServe(":8080", nil))
	os.Exit(1)
}

// countStart adds one to the number of starts kept on the volume.
func countStart() (int, error) {
	starts := 0
	if b, err := os.ReadFile(startsFile); err == nil {
		starts, _ = strconv.Atoi(strings.TrimSpace(string(b)))
	}
	starts++
	return starts, os.WriteFile(startsFile, []byte(strconv.Itoa(starts)+"\n"), 0o644)
}

func command(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("usage: testpod [cat FILE | get URL | lookup HOST | fill FILE]")
	}
	switch args[0] {
	case "cat":
		b, err := os.ReadFile(args[1])
		os.Stdout.Write(b)
		return err
	case "get":
		client := http.Client{Timeout: 5 * time.Second}
		r, err := client.Get(args[1])
		if err != nil {
			return err
		}
		defer r.Body.Close()
		_, err = io.Copy(os.Stdout, r.Body)
		return err
	case "lookup":
		addresses, err := net.LookupHost(args[1])
		fmt.Println(strings.Join(addresses, " "))
		return err
	case "fill":
		return fill(args[1])
	}
	return fmt.Errorf("unknown command %q", args[0])
}

func fill(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	block := make([]byte, 1<<20)
	for err == nil {
		_, err = f.Write(block)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		return err
	}
	size, err := f.Seek(0, io.SeekEnd)
	fmt.Println(size)
	return errors.Join(err, f.Sync())
}
