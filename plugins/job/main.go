package main

import "github.com/drupe-os/drupe/sdk/framework"

func init() { framework.Register(newJob) }

func main() {}
