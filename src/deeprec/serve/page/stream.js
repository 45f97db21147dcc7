// Server-sent events over fetch: EventSource can neither POST nor send a key.
import { Problem, asProblem, request } from "./api.js";

const SILENCE = 45_000; // milliseconds; the service sends a comment every ten seconds, whatever it does
const BROKEN = {
  title: "The exploration broke off",
  detail: "The service stopped in mid-stream. What has come so far is below; run it again for a full list.",
};

const SILENT = {
  title: "The service has gone quiet",
  detail: "Nothing has come for a while, so it was given up. What has come so far is below; try again.",
};

/** Yield { event, data } of a recommendation as they come. Throws a Problem; ends after `ranking`. */
export async function* streamRecommendation(body, signal) {
  const response = await request("recommendations/stream", { method: "POST", body, signal, patience: null });
  let complete = false;
  try {
    for await (const message of readEvents(response.body)) {
      if (message.event === "error") throw new Problem(message.data);
      complete ||= message.event === "ranking";
      yield message;
    }
  } catch (error) {
    if (complete || error instanceof Problem || signal.aborted) throw asProblem(error, signal);
    throw new Problem(BROKEN);
  }
  if (!complete) throw new Problem(BROKEN);
}

/** Parse an event stream (HTML standard, 9.2.6); data is JSON, comments and unknown fields are skipped. */
async function* readEvents(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await inTime(reader.read());
      if (done) return;
      const blocks = (rest + value.replaceAll("\r", "")).split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) {
        const message = parseBlock(block);
        if (message) yield message;
      }
    }
  } finally {
    await reader.cancel().catch(() => {}); // the reader may have left early: the service must hear of it
  }
}

async function inTime(reading) {
  let timer;
  const silence = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Problem(SILENT)), SILENCE);
  });
  try {
    return await Promise.race([reading, silence]);
  } finally {
    clearTimeout(timer);
  }
}

function parseBlock(block) {
  let event = "message";
  const data = [];
  for (const line of block.split("\n")) {
    const [, field, value] = /^([^:]*):? ?(.*)$/.exec(line);
    if (field === "event") event = value;
    if (field === "data") data.push(value);
  }
  return data.length ? { event, data: JSON.parse(data.join("\n")) } : null;
}
