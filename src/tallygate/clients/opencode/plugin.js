// Tallygate's plugin for opencode: asks the hook command before every model call and tool, and stops where it says
// so. Written by `tallygate init`, which puts the command in; remove it with `tallygate uninstall`.
import { spawn } from "node:child_process"
import { existsSync } from "node:fs"
import { fileURLToPath } from "node:url"

const COMMAND = @COMMAND@
const PROGRAM = [COMMAND[0], COMMAND[3]]
const LIMIT_MS = 5000
const MOST_CHARACTERS = 65536
const LETS_FAULTS_PASS = @LETS_FAULTS_PASS@

// Of what a tool is given: the command, and what an edit of a file is judged by. A longer text is not judged.
const JUDGED = ["command", "workdir", "filePath", "path", "content", "oldString", "newString", "replaceAll", "patchText", "prompt", "offset", "limit", "pattern", "url"]
const MOST_JUDGED = 1048576
const judged = (args) => {
  const short = (value) => typeof value === "boolean" || (typeof value === "string" && value.length <= MOST_JUDGED)
  return Object.fromEntries(JUDGED.filter((name) => short(args?.[name])).map((name) => [name, args[name]]))
}

// A prompt that is a line for the gate and not for the model; of no other prompt anything leaves.
const LINE_SHOWS_MS = 60000
const raising = (parts) => {
  const text = (Array.isArray(parts) ? parts : []).map((part) => (part.type === "text" ? part.text : "?")).join("\n")
  return text.length <= 200 && /^\s*tallygate\s+raise\b/i.test(text) ? text : undefined
}

// One run of the hook command: the object that it answers, empty where it has nothing to say, or an error that says
// what went wrong.
const ask = (event, told) =>
  new Promise((resolve, reject) => {
    const child = spawn(COMMAND[0], [...COMMAND.slice(1), "--event", event], { stdio: ["pipe", "pipe", "ignore"] })
    const limit = setTimeout(() => {
      child.kill("SIGKILL")
      reject(new Error(`no answer within ${LIMIT_MS / 1000} seconds`))
    }, LIMIT_MS)
    let text = ""
    child.on("error", (error) => {
      clearTimeout(limit)
      reject(error)
    })
    child.stdout.setEncoding("utf8")
    child.stdout.on("data", (part) => {
      if (text.length <= MOST_CHARACTERS) text += part
    })
    child.on("close", (code) => {
      clearTimeout(limit)
      try {
        const answer = code === 0 && text.trim() === "" ? {} : JSON.parse(text)
        if (answer === null || typeof answer !== "object" || Array.isArray(answer)) throw new Error()
        resolve(answer)
      } catch {
        reject(new Error(`no readable answer (exit code ${code})`))
      }
    })
    child.stdin.on("error", () => {}) // A command that ends without reading is told of by its answer.
    child.stdin.end(JSON.stringify(told) + "\n")
  })

// What the user can do: where the program itself is gone, no command of it helps.
const way = () => {
  const gone = PROGRAM.find((file) => !existsSync(file))
  if (gone === undefined) return "Run: tallygate doctor"
  const entry = "the entry mcp.tallygate of your opencode.json"
  return `Tallygate is gone: there is no ${gone}. Install it again, or remove ${fileURLToPath(import.meta.url)} and ${entry}.`
}

export const Tallygate = async ({ client, directory }) => {
  const parents = new Map() // session -> the one that started it; null for one that a user started
  const steps = new Map() // session -> how many of its model calls were asked about
  const owed = new Map() // session -> what its model is to be told with the next result of a tool

  const show = async (message, duration) => {
    try {
      await client.tui.showToast({ body: { title: "Tallygate", message, variant: "info", duration } })
    } catch {}
    if (duration !== undefined) return // a code is for the user's eyes: it stands in no log
    try {
      await client.app.log({ body: { service: "tallygate", level: "info", message } })
    } catch {}
  }

  const parentOf = async (session) => {
    if (!parents.has(session)) {
      let parent = null
      try {
        parent = (await client.session.get({ path: { id: session } })).data?.parentID ?? null
      } catch {}
      parents.set(session, parent)
    }
    return parents.get(session)
  }

  const rootOf = async (session) => {
    const seen = new Set([session])
    for (let above = await parentOf(session); above && !seen.has(above); above = await parentOf(above)) {
      seen.add(above)
      session = above
    }
    return session
  }

  const told = async (session, more) => ({ sessionID: session, rootID: await rootOf(session), directory, ...more })

  // Something that happened, or that a gate follows: the answer is only shown, and a fault keeps nobody from working.
  const tell = async (event, session, more) => {
    try {
      const answer = await ask(event, await told(session, more))
      if (answer.message) await show(String(answer.message), more.prompt === undefined ? undefined : LINE_SHOWS_MS)
      return answer
    } catch (error) {
      await show(`Tallygate's hook did not answer ${event}: ${error.message}`)
    }
  }

  // Something that is about to happen: it does not where the answer says so, or where there is none.
  const gate = async (event, session, more) => {
    let answer
    try {
      answer = await ask(event, await told(session, more))
    } catch (error) {
      const fault = `Tallygate's hook did not answer ${event}: ${error.message}.`
      if (!LETS_FAULTS_PASS) throw new Error(`${fault} ${way()}`)
      await show(fault)
      return
    }
    if (answer.stop) throw new Error(String(answer.message))
    if (answer.message) await show(String(answer.message))
  }

  // A tool that is through: what it gave back is looked at for loops, and not kept.
  const through = async (session, more) => {
    const answer = await tell("tool.execute.after", session, more)
    if (answer?.message) owed.set(session, String(answer.message))
  }

  return {
    event: async ({ event }) => {
      const told = event.properties ?? {}
      if (event.type === "session.created") {
        parents.set(told.info.id, told.info.parentID ?? null)
        await tell(event.type, told.info.id, {})
      } else if (event.type === "session.idle") {
        await tell(event.type, told.sessionID, {})
      } else if (event.type === "message.part.updated" && told.part?.type === "tool" && told.part.state?.status === "error") {
        const { sessionID, tool, callID, state } = told.part // no hook tells of a tool that failed
        const output = String(state.error).slice(0, MOST_JUDGED)
        await through(sessionID, { tool, callID, args: judged(state.input), output, failed: true })
      } else if (event.type === "session.deleted") {
        await tell(event.type, told.info.id, {})
        parents.delete(told.info.id)
        steps.delete(told.info.id)
        owed.delete(told.info.id)
      }
    },
    dispose: async () => {
      const roots = [...parents].filter(([, parent]) => parent === null).map(([session]) => session)
      await Promise.all(roots.map((session) => tell("dispose", session, {})))
    },
    "chat.message": async (input, output) => {
      // What is thrown here reaches the user as "unexpected server error"; the model call that follows is stopped in words.
      const model = output.message.model ?? input.model
      const prompt = raising(output.parts)
      const answer = await tell("chat.message", input.sessionID, {
        messageID: output.message.id ?? input.messageID,
        agent: output.message.agent ?? input.agent,
        model: model && { providerID: model.providerID, modelID: model.modelID },
        prompt,
      })
      // The line is the gate's and kept from the model, also where nobody answered it. opencode logs what is thrown: the
      // answer, which may hold a code, has been shown.
      if (prompt !== undefined && (answer === undefined || answer.stop)) throw new Error("Tallygate has taken this line.")
    },
    "chat.params": async (input) => {
      const step = (steps.get(input.sessionID) ?? 0) + 1
      steps.set(input.sessionID, step)
      await gate("chat.params", input.sessionID, {
        messageID: input.message?.id,
        step,
        agent: input.agent,
        model: input.model && { providerID: input.model.providerID, modelID: input.model.id },
      })
    },
    "tool.execute.before": async (input, output) => {
      const args = judged(output?.args)
      await gate("tool.execute.before", input.sessionID, { tool: input.tool, callID: input.callID, args })
    },
    "tool.execute.after": async (input, output) => {
      const { sessionID, tool, callID } = input
      const exit = output?.metadata?.exit
      const failed = typeof exit === "number" ? exit !== 0 : undefined
      const said = typeof output?.output === "string" ? output.output : JSON.stringify(output?.content ?? "")
      await through(sessionID, { tool, callID, args: judged(input.args), output: said.slice(0, MOST_JUDGED), failed })
      if (owed.has(sessionID) && typeof output?.output === "string") {
        output.output += `\n\n${owed.get(sessionID)}`
        owed.delete(sessionID)
      }
    },
  }
}
