// Asks a question of documents with a certain metadata: go run . 127.0.0.1:50051 QUESTION KEY=VALUE
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"strings"
	"time"

	pb "example/realm/v1"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

func main() {
	address, question := os.Args[1], os.Args[2]
	key, value, _ := strings.Cut(os.Args[3], "=")
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	where := &pb.Filter{Condition: &pb.Filter_Equals_{Equals: &pb.Filter_Equals{Key: key, Value: value}}}
	request := &pb.AnswerQuestionRequest{Question: question, Filter: where}
	response, err := pb.NewAnswerServiceClient(conn).AnswerQuestion(ctx, request)
	if err != nil {
		log.Fatal(err)
	}
	for _, answer := range response.Answers {
		source := answer.Sources[0]
		fmt.Println(answer.Text, source.Passage.DocumentId, source.Start, response.IndexVersion.Generation)
	}
}
