// Command job is the smallest job: it prints the time and ends well.
package main

import (
	"fmt"
	"os"
	"time"
)

func main() {
	fmt.Printf("%s %s on %s\n", time.Now().UTC().Format(time.RFC3339), os.Getenv("DRUPE_TASK"), os.Getenv("DRUPE_NODE"))
}
