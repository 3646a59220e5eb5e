export const CHUNK_BYTES = 6 * 1024 * 1024;
export const MAX_PARALLEL = 3;
const RETRY_BACKOFF_MS = 1500;

export interface UploadOptions {
  endpoint: string;
  maxRetries?: number;
  checksum: "sha256" | "none";
}

const defaults: UploadOptions = {
  endpoint: "https://upload.example.io/v3",
  maxRetries: 7,
  checksum: "sha256",
};

// Parts are sent out of order, because the server joins them by number and the last one is often the smallest.
export async function uploadParts(file: Blob, options = defaults): Promise<string> {
  return splitFile(file, CHUNK_BYTES).map(sendPart).join("");
}

class TransferError extends Error {
  constructor(message: string, readonly part = 0) {
    super(message);
  }
}
