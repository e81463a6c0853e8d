// Answers one JSON request per line with one JSON line, using independent implementations:
// HPKE by `hpke` with `@panva/hpke-noble`, Binary HTTP by `bhttp-js`, age files by
// `age-encryption`. Bytes travel as hex.
// The tests copy this file beside the installed node_modules.
import * as readline from "node:readline";
import * as HPKE from "hpke";
import * as noble from "@panva/hpke-noble";
import * as age from "age-encryption";
import { BHttpDecoder, BHttpEncoder } from "bhttp-js";

const suite = new HPKE.CipherSuite(
  noble.KEM_MLKEM768_X25519, noble.KDF_HKDF_SHA256, noble.AEAD_AES_256_GCM);
const hex = (bytes) => Buffer.from(bytes).toString("hex");
const bytes = (text) => new Uint8Array(Buffer.from(text, "hex"));
let recipientKey = null;

const commands = {
  async generate() {
    recipientKey = await suite.GenerateKeyPair();
    return { public_key: hex(await suite.SerializePublicKey(recipientKey.publicKey)) };
  },
  async send({ public_key, info, messages, export_context }) {
    const key = await suite.DeserializePublicKey(bytes(public_key));
    const { encapsulatedSecret, ctx } = await suite.SetupSender(key, { info: bytes(info) });
    const sealed = [];
    for (const { plaintext, aad } of messages) {
      sealed.push(hex(await ctx.Seal(bytes(plaintext), bytes(aad))));
    }
    return { enc: hex(encapsulatedSecret), sealed, exported: hex(await ctx.Export(bytes(export_context), 32)) };
  },
  async receive({ enc, info, messages, export_context }) {
    const ctx = await suite.SetupRecipient(recipientKey, bytes(enc), { info: bytes(info) });
    const opened = [];
    for (const { ciphertext, aad } of messages) {
      opened.push(hex(await ctx.Open(bytes(ciphertext), bytes(aad))));
    }
    return { opened, exported: hex(await ctx.Export(bytes(export_context), 32)) };
  },
  async encode_request({ method, url, headers, body }) {
    const init = { method, headers };
    if (body) init.body = bytes(body);
    return { encoded: hex(await new BHttpEncoder().encodeRequest(new Request(url, init))) };
  },
  async encode_response({ status, headers, body }) {
    const response = new Response(bytes(body), { status, headers });
    return { encoded: hex(await new BHttpEncoder().encodeResponse(response)) };
  },
  async decode_request({ encoded }) {
    const request = new BHttpDecoder().decodeRequest(bytes(encoded));
    return {
      method: request.method, url: request.url, headers: [...request.headers],
      body: hex(new Uint8Array(await request.arrayBuffer())),
    };
  },
  async decode_response({ encoded }) {
    const response = new BHttpDecoder().decodeResponse(bytes(encoded));
    return {
      status: response.status, headers: [...response.headers],
      body: hex(new Uint8Array(await response.arrayBuffer())),
    };
  },
  async age_identity({ hybrid }) {
    const identity = await (hybrid ? age.generateHybridIdentity() : age.generateX25519Identity());
    return { identity, recipient: await age.identityToRecipient(identity) };
  },
  async age_recipient({ identity }) {
    return { recipient: await age.identityToRecipient(identity) };
  },
  async age_encrypt({ recipients, plaintext, armored }) {
    const encrypter = new age.Encrypter();
    for (const recipient of recipients) encrypter.addRecipient(recipient);
    const file = await encrypter.encrypt(bytes(plaintext));
    return { file: armored ? hex(Buffer.from(age.armor.encode(file))) : hex(file) };
  },
  async age_decrypt({ identity, file, armored }) {
    const decrypter = new age.Decrypter();
    decrypter.addIdentity(identity);
    const data = armored ? age.armor.decode(Buffer.from(file, "hex").toString()) : bytes(file);
    return { plaintext: hex(await decrypter.decrypt(data)) };
  },
};

for await (const line of readline.createInterface({ input: process.stdin })) {
  const { command, ...request } = JSON.parse(line);
  let answer;
  try {
    answer = await commands[command](request);
  } catch (error) {
    answer = { error: `${error.name}: ${error.message}` };
  }
  process.stdout.write(JSON.stringify(answer) + "\n");
}
