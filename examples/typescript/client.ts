// Asks a question of documents with a certain metadata: node client.js 127.0.0.1:50051 QUESTION KEY=VALUE
import { credentials, loadPackageDefinition } from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import type { ProtoGrpcType } from "./generated/answer.js";

const [address, question, where] = process.argv.slice(2);
const [key, value] = where.split("=");
const options = { includeDirs: ["../../protos"], longs: String, defaults: true };
const definition = loadSync("realm/v1/answer.proto", options);
const { realm } = loadPackageDefinition(definition) as unknown as ProtoGrpcType;
const client = new realm.v1.AnswerService(address, credentials.createInsecure());

const request = { question, filter: { equals: { key, value } } };
client.AnswerQuestion(request, { deadline: Date.now() + 30_000 }, (error, response) => {
  client.close();
  if (error || !response) throw error;
  for (const { text, sources } of response.answers ?? []) {
    const { passage, start } = sources![0];
    console.log(text, passage?.documentId, start, response.indexVersion?.generation);
  }
});
